"""What a request used and what that costs. Needs no database."""
