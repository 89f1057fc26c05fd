"""Keys that are signed tokens of an identity provider: nothing is stored, the claims are the key."""

from crplugins.keys.jwt.settings import JwtSettings, read_settings
from crplugins.keys.jwt.source import JwtKeys

__all__ = ["JwtKeys", "JwtSettings", "read_settings"]
