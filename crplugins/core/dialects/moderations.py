"""Moderations (OpenAI, "Create moderation"): whether texts and pictures are harmful. Providers count nothing."""

from typing import Final

from crplugins.core.dialects.counted import Counted


class Moderations(Counted):
    """`POST /v1/moderations`."""

    name = "moderations"
    path = "/moderations"
    default_model = "omni-moderation-latest"
    prompt = ("input",)
    answers = ("results",)


MODERATIONS: Final = Moderations()
