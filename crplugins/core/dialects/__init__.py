"""The protocols in which clients ask a model, a file for each.

A dialect knows where a request says what it asks for, where an answer says what it has used, how a stream ends, and how
an error looks. Everybody else asks `exchange.dialect` and the facts that it has read, and no format: a
limit, a budget or a record is the same for all of them.

`dialect.py` is what they have in common, with OpenAI's words for whatever a protocol does not say otherwise. `chat.py`
is the one that the others are measured by.

`counted.py` is what those have in common that pass as they are and are counted.

To add one: its file, and a row in `ALL`.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from crplugins.core.dialects.audio import SPEECH, TRANSCRIPTIONS, TRANSLATIONS
from crplugins.core.dialects.chat import CHAT
from crplugins.core.dialects.compact import COMPACT
from crplugins.core.dialects.completions import COMPLETIONS
from crplugins.core.dialects.count_tokens import COUNT_TOKENS
from crplugins.core.dialects.dialect import Dialect
from crplugins.core.dialects.embeddings import EMBEDDINGS
from crplugins.core.dialects.images import IMAGE_EDITS, IMAGE_VARIATIONS, IMAGES
from crplugins.core.dialects.messages import MESSAGES
from crplugins.core.dialects.moderations import MODERATIONS
from crplugins.core.dialects.rerank import RERANK
from crplugins.core.dialects.responses import RESPONSES

__all__ = [
    "ALL", "BY_NAME", "CHAT", "COMPACT", "COMPLETIONS", "COUNT_TOKENS", "EMBEDDINGS", "IMAGES", "IMAGE_EDITS",
    "IMAGE_VARIATIONS", "MESSAGES", "MODERATIONS", "RERANK", "RESPONSES", "SPEECH", "TRANSCRIPTIONS", "TRANSLATIONS",
    "Dialect", "shown_dialect",
]  # fmt: skip

ALL: Final = (
    CHAT, COMPLETIONS, RESPONSES, COMPACT, MESSAGES, COUNT_TOKENS, EMBEDDINGS, RERANK, MODERATIONS, IMAGES,
    IMAGE_EDITS, IMAGE_VARIATIONS, TRANSCRIPTIONS, TRANSLATIONS, SPEECH,
)  # fmt: skip

BY_NAME: Final[Mapping[str, Dialect]] = MappingProxyType({dialect.name: dialect for dialect in ALL})

_SHOWN: Final = {MESSAGES.version[0].encode(): MESSAGES}
"""Headers that every request of a protocol's clients has, whatever the path."""


def shown_dialect(headers: Iterable[tuple[bytes, bytes]]) -> Dialect:
    """The protocol that the sender of a request reads errors in, where its path says nothing."""
    return next((_SHOWN[name] for name, _ in headers if name in _SHOWN), CHAT)
