"""What a request must be in each protocol: a table for each, made of `checks.py`.

OpenAI's schemas (openai-openapi) and Anthropic's reference are where the tables come from. What other providers may
support passes: more formats, larger numbers, another member in place of the one that is asked for. `strict` has what
OpenAI and Anthropic themselves refuse. That of chat completions stands here, all others in `other_tables.py`.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from crplugins.core.errors import GatewayError
from crplugins.plugins.guard.checks import Check, closed
from crplugins.plugins.guard.messages import ChatMessages
from crplugins.plugins.guard.parameters import PARAMETERS

STREAMED: Final = (("stream_options", "stream"),)


class RequestTable(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of one protocol.

    Attributes:
        checks: of each parameter, in the order in which faults are reported.
        required: the parameters that must be there; of several in one tuple, any one of them.
        only_with: parameters that are only allowed where another is true.
        attached: the members of which one must be there, or a file; the first as forms, the last as JSON has it.
        first: the check of the messages, which comes before all others.
        open: `strict` closes no set within a parameter: its items have more members than stand here.
        reword: puts a refusal into the words of the provider.
    """

    checks: Mapping[str, Check]
    required: tuple[tuple[str, ...], ...] = ()
    only_with: tuple[tuple[str, str], ...] = ()
    attached: tuple[str, ...] = ()
    first: Callable[[msgspec.Raw], None] | None = None
    open: bool = False
    reword: Callable[[GatewayError], GatewayError] = lambda error: error


def _chat(*, strict: bool) -> RequestTable:
    return RequestTable(
        checks=PARAMETERS,
        required=(("messages",),),
        only_with=(("top_logprobs", "logprobs"), *STREAMED),
        first=ChatMessages(strict=strict),
    )


def table_of(dialect: str, *, strict: bool) -> RequestTable:
    """Of a protocol, by the name of its dialect. Made when a request comes that asks in it: few are used in one place.

    Raises KeyError for a dialect that there is not.
    """
    if dialect == "chat":
        table = _chat(strict=strict)
    else:
        from crplugins.plugins.guard.other_tables import MADE  # a millisecond of every start

        table = MADE[dialect](strict=strict)
    if not strict or table.open:
        return table
    return msgspec.structs.replace(table, checks={name: closed(check) for name, check in table.checks.items()})
