"""ModelAliases: names that clients use for models."""
