"""Webhooks: other systems are told when a budget is nearly spent, and when a key is about to expire."""
