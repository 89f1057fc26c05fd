"""ModelAliases: the names that clients use for models."""
