"""`crplugins serve` that is told to end while answers are running that take longer than it may wait."""

import json
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.warm import PYTHON

CONFIGURATION = """
model_list: [{model_name: mine, litellm_params: {model: openai/m, api_base: "${PROVIDER}", api_key: sk-up}, handler: HANDLER}]
keys: [{id: team-a, secret: sk-team-a-0123456789}]
ledger: {url: "sqlite:///usage.db"}
server: {shutdown_seconds: 1}
"""
QUESTION = {"model": "mine", "messages": [{"role": "user", "content": "hi"}]}
KEY = {"authorization": "Bearer sk-team-a-0123456789"}
ERROR = {
    "error": {
        "message": "The server is shutting down. Please try again.",
        "type": "server_error",
        "param": None,
        "code": "server_shutdown",
    }
}


@pytest.fixture(scope="module")
def provider():
    """Says one word every quarter of a second."""
    command = [*PYTHON.command, "-m", "crplugins.testing.provider", "--words", "400", "--frame-delay", "0.25"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.mark.parametrize(("handler", "workers"), [("direct", 1), ("direct", 2), ("litellm", 1)])
def test_a_stream_that_is_cut_gets_an_error_frame_and_is_recorded_as_overloaded(
    serve, run, provider, tmp_path, handler, workers
):
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION.replace("HANDLER", handler))
    with serve("--workers", workers, cwd=tmp_path, litellm=handler == "litellm", PROVIDER=provider) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        with httpx.stream("POST", url, headers=KEY, json={**QUESTION, "stream": True}, timeout=60) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("data: {")
            gateway.process.terminate()
            data = [line.removeprefix("data: ") for line in lines if line]
        code, _, log = gateway.ended()
    assert json.loads(data[-2]) == ERROR
    assert data[-1] == "[DONE]"
    assert code == 0
    assert "Traceback" not in log
    (kept,) = json.loads(run("usage", "--by", "error_type", "--json", cwd=tmp_path, PROVIDER=provider).stdout)
    assert (kept["error_type"], kept["requests"]) == ("overloaded", 1)
    assert kept["output_tokens"] > 0


def test_an_answer_that_has_not_begun_becomes_a_503(serve, tmp_path):
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION.replace("HANDLER", "direct"))
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        serve(cwd=tmp_path, PROVIDER=f"http://127.0.0.1:{silent.getsockname()[1]}/v1") as gateway,
        ThreadPoolExecutor() as threads,
    ):
        silent.settimeout(60)
        asked = threads.submit(_asked, silent)
        asked.add_done_callback(lambda _: gateway.process.terminate())
        answer = httpx.post(f"{gateway.url}/v1/chat/completions", headers=KEY, json=QUESTION, timeout=30)
        code, _, log = gateway.stop()
        asked.result().close()
    assert (answer.status_code, answer.json(), answer.headers["retry-after"]) == (503, ERROR, "1")
    assert code == 0
    assert "Traceback" not in log


def _asked(provider: socket.socket) -> socket.socket:
    """The connection, open and without an answer, on which a request has come."""
    connection, _ = provider.accept()
    connection.recv(1)
    return connection


@pytest.mark.parametrize("workers", [1, 2])
def test_being_told_to_end_again_and_again_changes_nothing(serve, provider, tmp_path, workers):
    """An impatient supervisor, whose signals also come while the event loop closes."""
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION.replace("HANDLER", "direct"))
    for _ in range(2):
        with serve("--workers", workers, cwd=tmp_path, PROVIDER=provider) as gateway:
            while gateway.process.poll() is None:
                gateway.process.terminate()
                time.sleep(0.0005)
            code, _, log = gateway.ended()
        assert (code, log.count("Traceback")) == (0, 0), log
