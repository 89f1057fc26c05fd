"""What answers a chat completion: handlers know nothing of plugins."""
