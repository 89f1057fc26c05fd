"""The protocols in which clients ask a model, a file for each.

A dialect knows where a request says what it asks for, where an answer says what it has used, how a stream ends, and how
an error looks. Everybody else asks `exchange.dialect` and the facts that it has read, and no format: a
limit, a budget or a record is the same for all of them.

`dialect.py` is what they have in common, with OpenAI's words for whatever a protocol does not say otherwise. `chat.py`
is the one that the others are measured by.

To add one: its file, and a row in `ALL`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from crplugins.core.dialects.chat import CHAT
from crplugins.core.dialects.completions import COMPLETIONS
from crplugins.core.dialects.dialect import Dialect
from crplugins.core.dialects.embeddings import EMBEDDINGS
from crplugins.core.dialects.messages import MESSAGES
from crplugins.core.dialects.responses import RESPONSES

__all__ = ["ALL", "BY_NAME", "CHAT", "COMPLETIONS", "EMBEDDINGS", "MESSAGES", "RESPONSES", "Dialect"]

ALL: Final = (CHAT, COMPLETIONS, RESPONSES, MESSAGES, EMBEDDINGS)

BY_NAME: Final[Mapping[str, Dialect]] = MappingProxyType({dialect.name: dialect for dialect in ALL})
