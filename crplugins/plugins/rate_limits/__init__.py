"""RateLimits: requests and tokens per minute, hour and day, and requests at once."""
