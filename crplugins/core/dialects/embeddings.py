"""Embeddings (OpenAI, "Create embeddings"): vectors of texts, as numbers or in base64. The input is what is counted.

vLLM takes a conversation, `messages`, in the place of the input, as its models of pictures and texts need one.
"""

from typing import Final

from crplugins.core.dialects.counted import Counted


class Embeddings(Counted):
    """`POST /v1/embeddings`."""

    name = "embeddings"
    path = "/embeddings"
    prompt = ("input", "messages")
    tokens = ("input",)
    parameters = ("user",)


EMBEDDINGS: Final = Embeddings()
