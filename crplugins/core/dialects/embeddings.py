"""Embeddings (OpenAI, "Create embeddings"): vectors of texts, as numbers or in base64. The input is what is counted."""

from typing import Final

from crplugins.core.dialects.counted import Counted


class Embeddings(Counted):
    """`POST /v1/embeddings`."""

    name = "embeddings"
    path = "/embeddings"
    prompt = tokens = ("input",)
    parameters = ("user",)


EMBEDDINGS: Final = Embeddings()
