"""Keys that clients call with."""
