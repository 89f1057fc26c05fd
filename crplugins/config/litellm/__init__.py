"""LiteLLM's own configuration file: what of it counts here, and what becomes of each of its keys."""
