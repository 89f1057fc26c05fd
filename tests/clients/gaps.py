"""What a client does not read of a family's streams, and why. Everything else it must read, or its test fails.

A gap that has closed fails the test too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.clients.installed import Client
from tests.families.catalogue import find
from tests.families.story import THINKING


@dataclass(frozen=True)
class Gap:
    """What these clients do not read of these families through these handlers; all three are patterns.

    Attributes:
        aspects: those of `compare.ASPECTS`.
    """

    clients: str
    families: str
    handlers: str
    aspects: tuple[str, ...]
    reason: str

    def fits(self, client: Client, family: str, handler: str) -> bool:
        names = ((client.name, self.clients), (family, self.families), (handler, self.handlers))
        return all(fnmatchcase(name, pattern) for name, pattern in names)


PARTS = "Mistral's thinking is a list of parts in `content`, which `direct` passes through; `litellm`, and `auto`, translate it."

GAPS = (
    Gap("langchain-openai", "*", "*", ("reasoning",), "langchain-openai reads no field that OpenAI's own API does not have."),
    Gap("openai-python", "mistral", "direct", ("reasoning",), PARTS),
    Gap("openai-node", "mistral", "direct", ("text", "reasoning"), PARTS),
    Gap("pydantic-ai", "mistral", "direct", ("reasoning",), PARTS),
    Gap("llama-index", "mistral", "direct", ("reasoning",), PARTS),
    Gap("llama-index", "mistral", "direct", ("tools",), "llama-index joins two calls that stand in one chunk."),
    Gap("llama-index", "xai", "direct", ("tools",), "llama-index joins two calls that stand in one chunk."),
    Gap("llama-index", "xai", "direct", ("reasoning",), "llama-index reads no reasoning on a stream's first chunk."),
    Gap("llama-index", "glm", "direct", ("reasoning",), "llama-index reads no reasoning on a stream's first chunk."),
)  # fmt: skip


def gaps_of(client: Client, family: str, handler: str) -> Iterator[tuple[str, str]]:
    """Aspects that the client does not read, each with the reason. What a family does not send is no gap."""
    thinks = bool(find(family, THINKING).right.reasoning)
    for gap in GAPS:
        if gap.fits(client, family, handler):
            for aspect in gap.aspects:
                if aspect != "reasoning" or thinks:
                    yield aspect, gap.reason
