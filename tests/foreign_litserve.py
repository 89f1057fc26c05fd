"""A chat server made with LitServe: `python -m tests.foreign_litserve ENGINE PORT MIDDLEWARE...`.

ENGINE is the host and port of an OpenAI-compatible server that does the work. Each MIDDLEWARE is the dotted name of a class,
with keywords as JSON behind an `=` if it takes some; the first one is the innermost, as LitServe adds them.
"""

import http.client
import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import litserve


class Relay(litserve.LitAPI):
    """Passes on what the engine says, and says at the end what it counted."""

    def __init__(self, engine: str) -> None:
        super().__init__(spec=litserve.OpenAISpec())
        self._engine = engine

    def setup(self, device: Any) -> None:
        pass

    def predict(self, request: Any, context: Any) -> Iterator[dict[str, Any]]:
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        asked = {"model": request.model, "messages": messages, "max_tokens": request.max_tokens, "temperature": 0}
        for chunk in self._chunks({**asked, "stream": True, "stream_options": {"include_usage": True}}):
            content = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
            counted = chunk.get("usage") or {}
            if content or counted:
                yield {"role": "assistant", "content": content or "", **counted}

    def _chunks(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        connection = http.client.HTTPConnection(self._engine)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        with connection.getresponse() as response:
            for line in response:
                if line.startswith(b"data: {"):
                    yield json.loads(line[6:])


def middleware(word: str) -> tuple[type, dict[str, Any]]:
    name, _, keywords = word.partition("=")
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute), json.loads(keywords or "{}")


if __name__ == "__main__":
    engine, port, *words = sys.argv[1:]
    litserve.server._MCP_AVAILABLE = (
        False  # it needs fastmcp for that, and looks for mcp alone, which LiteLLM's proxy has
    )
    server = litserve.LitServer(Relay(engine), middlewares=[middleware(word) for word in words])
    server.run(
        host="127.0.0.1", port=port, num_api_servers=1, api_server_worker_type="thread", generate_client_file=False
    )
