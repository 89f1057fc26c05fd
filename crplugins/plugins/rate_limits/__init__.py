"""RateLimits: how much may be asked for in a minute, an hour, a day, and at once."""
