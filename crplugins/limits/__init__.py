"""Limits: how much may be used, reserved before a request runs and settled after it."""
