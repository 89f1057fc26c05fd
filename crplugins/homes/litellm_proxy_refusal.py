"""A GatewayError as LiteLLM's proxy renders it, with OpenAI's four keys and our headers."""

from typing import Any

from litellm.proxy._types import ProxyException

from crplugins.core.errors import GatewayError


def headers_of(error: GatewayError) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in error.headers}


class Refusal(ProxyException):
    """LiteLLM's own class has the status where OpenAI has the code, so the document is written here."""

    def __init__(self, error: GatewayError, headers: dict[str, str] | None = None) -> None:
        shown = error.error
        super().__init__(
            message=shown.message,
            type=shown.type,
            param=shown.param,
            code=error.status,
            headers=headers_of(error) if headers is None else headers,
            openai_code=shown.code,
        )
        self.code = str(error.status)  # ProxyException makes other statuses of some messages
        self.gateway_error = error

    def to_dict(self) -> dict[str, Any]:
        shown = self.gateway_error.error
        return {"message": shown.message, "type": shown.type, "param": shown.param, "code": shown.code}
