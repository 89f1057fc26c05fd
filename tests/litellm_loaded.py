"""Imported by a warm Python: litellm, as a gateway has it before it warms it up."""

from crplugins.handlers.litellm.loading import load_litellm

load_litellm()
