"""Ollama's server is asked what it has at start-up, and never again on a request."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from crplugins.handlers.litellm.loading import load_litellm
from crplugins.testing import FakeProvider
from tests.litellm_setup import HELLO, asking

SHOWN = {"template": "{{ if .Tools }}{{ .Tools }}{{ end }}", "model_info": {"llama.context_length": 4096}}
SAID = {"model": "tiny", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": "hello"},
        "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}  # fmt: skip


@dataclass
class Ollama:
    """A server in a thread of its own: a blocking call of litellm's would be answered, and counted."""

    url: str = ""
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ollama]:
    seen = Ollama()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            seen.paths.append(self.path)
            data = json.dumps(SHOWN if self.path == "/api/show" else SAID).encode() + b"\n"
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    seen.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("OLLAMA_API_BASE", seen.url)  # where litellm asks, whatever the deployment's address
    monkeypatch.setattr(load_litellm(), "model_cost", dict(load_litellm().model_cost))
    yield seen
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_model_is_asked_about_at_start_up_alone(ollama):
    async with asking(FakeProvider(), "ollama_chat/tiny", api_base=ollama.url) as asked:
        assert ollama.paths == ["/api/show"]
        assert (await asked.plain())["choices"][0]["message"]["content"] == "hello"
        told = await asked.stream()
        assert (told.said("content"), told.finish_reasons(), told.done) == ("hello", ["stop"], True)
    assert ollama.paths == ["/api/show", "/api/chat", "/api/chat"]
    listed = load_litellm().model_cost["ollama/tiny"]
    assert (listed["max_input_tokens"], listed["supports_function_calling"]) == (4096, True)


async def test_a_model_of_a_wildcard_is_asked_about_once(ollama):
    async with asking(FakeProvider(), "ollama_chat/*", name="*", api_base=ollama.url) as asked:
        ollama.paths.clear()
        await asked.plain(model="other")
        await asked.plain(model="other")
    assert ollama.paths == ["/api/show", "/api/chat", "/api/chat"]


@pytest.mark.parametrize("provider", ["ollama", "ollama_chat"])
@pytest.mark.parametrize("kind", ["input_audio", "audio_url", "video_url"])
async def test_sound_and_video_are_refused_by_name_before_anything_is_sent(ollama, provider, kind):
    content = [{"type": "text", "text": "What is this?"}, {"type": kind, kind: {"url": "data:;base64,AA=="}}]
    async with asking(FakeProvider(), f"{provider}/tiny", api_base=ollama.url) as asked:
        ollama.paths.clear()
        refusal = await asked.refusal(messages=[*HELLO, {"role": "user", "content": content}])
    assert (refusal.status, refusal.error.code) == (400, "unsupported_value")
    assert refusal.error.param == "messages[1].content[1].type"
    assert kind in refusal.error.message
    assert ollama.paths == []


async def test_a_picture_is_sent_along(ollama):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    async with asking(FakeProvider(), "ollama_chat/tiny", api_base=ollama.url) as asked:
        answer = await asked.plain(messages=[{"role": "user", "content": [{"type": "text", "text": "Look."}, picture]}])
    assert answer["choices"][0]["message"]["content"] == "hello"


async def test_a_server_that_is_down_at_start_up_does_not_keep_the_gateway_from_starting(ollama):
    async with asking(FakeProvider(), "ollama_chat/gone", api_base="http://127.0.0.1:9"):
        assert "ollama/gone" not in load_litellm().model_cost
