"""AnswerKeys: what answers may be like. The same keys for a deployment, for an entry of `model_list` and for all."""

from typing import Annotated, Final

from pydantic import Field

from crplugins.handlers.deadlines import Deadlines
from crplugins.settings.section import Number, Section, Whole

_LONGEST: Final = 10_000_000
"""Seconds, which are four months: a timer of the event loop takes no number without end."""

Seconds = Annotated[Number, Field(gt=0, le=_LONGEST)]


class AnswerKeys(Section):
    """How long a deployment may take to answer, in our words and in LiteLLM's, and what is left out of its streams."""

    timeout: Seconds | None = Field(default=None, examples=[120])
    """Seconds from the request to the last byte of the answer. By default 600 for a plain one; a stream as a whole is
    bounded only where this is written."""

    first_token_timeout: Seconds | None = Field(default=None, examples=[20])
    """Seconds from the request to the first token; by default a third of `timeout` while another deployment can still
    be asked, else all of it. A plain answer comes at once, and the last one that is asked has all of `timeout`."""

    stall_timeout: Seconds | None = Field(default=None, examples=[30])
    """Seconds between two tokens of a stream; by default as many as `timeout`."""

    stream_timeout: Seconds | None = Field(default=None, examples=[20])
    """LiteLLM's word for `first_token_timeout`, for streams alone."""

    request_timeout: Seconds | None = Field(default=None, examples=[120])
    """LiteLLM's word for `timeout`, which comes first."""

    skip_malformed: Annotated[Whole, Field(ge=0)] | None = Field(default=None, examples=[0])
    """How many malformed events of one stream are left out, by default 1; one more is a break."""

    def deadlines(self) -> Deadlines:
        """What is written here."""
        return Deadlines(
            timeout=self.request_timeout if self.timeout is None else self.timeout,
            first_token=self.first_token_timeout,
            first_token_of_stream=self.stream_timeout,
            stall=self.stall_timeout,
        )
