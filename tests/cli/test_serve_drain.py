"""`crplugins serve` that is told to end while a stream is running: it takes nothing more, and the stream goes on."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException

import httpx
import pytest

CONFIGURATION = """
model_list: [{model_name: mine, litellm_params: {model: openai/m, api_base: "${PROVIDER}", api_key: sk-up}, handler: direct}]
keys: [{id: team-a, secret: sk-team-a-0123456789}]
ledger: {url: "sqlite:///usage.db"}
metrics: {token: null}
limits: {per_key: {max_parallel_requests: 1}, queue: {seconds: 60, length: 5}}
"""
QUESTION = {"model": "mine", "messages": [{"role": "user", "content": "hi"}]}
KEY = {"authorization": "Bearer sk-team-a-0123456789"}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
CHUNK = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":null}]}\n\n'
STOP = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":7,"total_tokens":10}}\n\ndata: [DONE]\n\n'


@contextmanager
def stepwise() -> Iterator[tuple[str, socket.socket]]:
    """A provider whose answers the test writes itself: its base URL and its listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as provider:
        provider.settimeout(60)
        yield f"http://127.0.0.1:{provider.getsockname()[1]}/v1", provider


def asked(provider: socket.socket) -> socket.socket:
    connection, _ = provider.accept()
    connection.recv(65536)
    connection.sendall(HEAD + CHUNK)
    return connection


def readiness(url: str) -> int | None:
    """The status of /readyz, asked on a new connection; None where a process accepted it that ended before the request.

    With httpx each new connection would take longer than all that is tried here.
    """
    with closing(HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        except (OSError, HTTPException):
            return None


def queued(url: str) -> float:
    """How many requests wait, in all processes."""
    with closing(HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
        connection.request("GET", "/metrics?name[]=crplugins_queue_waiting_requests")
        lines = connection.getresponse().read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#"))


def until_it_drains(url: str) -> httpx.Response:
    """The answer of /readyz, on a connection of its own, once it is not 200 any more."""
    while readiness(url) == 200:
        time.sleep(0.01)
    return httpx.get(f"{url}/readyz")


@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_not_ready_takes_nothing_more_and_lets_the_stream_come_to_its_end(serve, run, tmp_path, workers):
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    with (
        stepwise() as (base, provider),
        serve("--workers", workers, cwd=tmp_path, PROVIDER=base) as gateway,
        ThreadPoolExecutor() as threads,
    ):
        url = f"{gateway.url}/v1/chat/completions"
        asks = threads.submit(asked, provider)
        with (
            httpx.stream("POST", url, headers=KEY, json={**QUESTION, "stream": True}, timeout=60) as answer,
            closing(asks.result()) as upstream,
            closing(socket.create_connection(("127.0.0.1", gateway.port), timeout=60)) as idle,
        ):
            lines = answer.iter_lines()
            assert json.loads(next(lines).removeprefix("data: "))["choices"][0]["delta"]["content"] == "hi"
            waits = threads.submit(httpx.post, url, headers=KEY, json=QUESTION, timeout=60)
            while queued(gateway.url) == 0:
                time.sleep(0.02)
            gateway.process.terminate()
            ready = until_it_drains(gateway.url)
            waited = waits.result(timeout=10)
            alive = httpx.get(f"{gateway.url}/healthz")
            refused = httpx.post(url, headers=KEY, json=QUESTION)
            assert idle.recv(1) == b"", "what is idle is closed"
            upstream.sendall(STOP)
            upstream.close()
            data = [line.removeprefix("data: ") for line in lines if line]
        code, _, log = gateway.stop()
    assert (waited.status_code, waited.json()["error"]["code"]) == (503, "server_shutdown")
    assert (ready.status_code, ready.json()["status"], ready.headers["connection"]) == (503, "stopping", "close")
    assert (alive.status_code, alive.headers["connection"]) == (200, "close")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_shutdown")
    assert (refused.headers["connection"], refused.headers["retry-after"]) == ("close", "1")
    assert json.loads(data[-2])["choices"][0]["finish_reason"] == "stop"
    assert data[-1] == "[DONE]"
    assert (code, "Traceback" in log) == (0, False)
    kept = json.loads(run("usage", "--by", "outcome", "--json", cwd=tmp_path, PROVIDER=base).stdout)
    assert {each["outcome"]: (each["requests"], each["output_tokens"]) for each in kept} == {
        "ok": (1, 7),
        "server_error": (2, 0),
    }
