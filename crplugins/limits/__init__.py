"""Limits: how much may be used, reserved before the work and settled after it."""
