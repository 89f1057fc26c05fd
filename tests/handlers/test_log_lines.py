"""What the log of `crplugins serve` holds: no prompt, no answer, no secret, and no line that somebody else wrote."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crplugins.cli.logs import LineFormatter, log_to
from crplugins.core.log_lines import NO_REQUEST, REQUEST_ID
from crplugins.plugins.access_log import JSONFormatter
from crplugins.testing import Script
from tests.gateway_setup import UPSTREAM_KEY, Behind

PROMPT = "a prompt word nobody logs"
FORGED = "x\n2026-01-01 00:00:00,000 ERROR crplugins.auth: forged\r\x1b[2J\u2028forged\x85forged"

Logged = Callable[..., list[str]]


@pytest.fixture(params=["text", "json"])
def written(request: pytest.FixtureRequest) -> Logged:
    """The lines that a logger's record becomes, of the text log or the JSON log."""

    def write(name: str, *args: Any, request_id: str = NO_REQUEST, **options: Any) -> list[str]:
        stream = io.StringIO()
        formatter = JSONFormatter() if request.param == "json" else None
        token = REQUEST_ID.set(request_id)
        try:
            with log_to(stream, formatter=formatter, others=True):
                logging.getLogger(name).warning(*args, **options)
        finally:
            REQUEST_ID.reset(token)
        return stream.getvalue().splitlines()

    return write


def test_a_text_of_somebody_else_stays_on_its_line(written: Logged) -> None:
    [line] = written("crplugins.upstream", "it is %s", FORGED)
    assert line.isprintable()


@pytest.mark.parametrize(
    "name", ["LiteLLM", "LiteLLM Router", "asyncio", "httpx", "openai._base_client", "aiohttp.client"]
)
def test_of_another_library_only_the_place_is_written(written: Logged, name: str) -> None:
    try:
        int(PROMPT)
    except ValueError as error:
        text = "\n".join(written(name, f"cannot send {PROMPT}", exc_info=error))
    assert PROMPT not in text
    assert name in text
    assert "test_log_lines" in text
    assert "ValueError" in text


@pytest.mark.parametrize("name", ["uvicorn.error", "crplugins.gateway"])
def test_an_exception_during_a_request_is_its_class_and_its_place(written: Logged, name: str) -> None:
    try:
        try:
            int(PROMPT)
        except ValueError as error:
            raise LookupError(PROMPT) from error
    except LookupError as error:
        text = "\n".join(written(name, "failed", exc_info=error, request_id="id-7"))
    assert PROMPT not in text
    for word in ("failed", "LookupError", "ValueError", "test_log_lines.py", "id-7"):
        assert word in text


def test_an_exception_outside_requests_is_told_whole_and_set_in(written: Logged) -> None:
    try:
        Path(f"/no/such file{FORGED}").read_bytes()
    except OSError as error:
        first, *more = written("crplugins.asgi", "cannot start", exc_info=error)
    assert "no/such file" in "".join([first, *more])
    assert all(line.startswith("    ") for line in more)
    assert all(line.isprintable() for line in more)


def test_a_long_text_is_cut(written: Logged) -> None:
    assert len(written("crplugins.x", "word " * 100_000)[0]) < 5000


def test_every_line_has_its_request_once() -> None:
    record = logging.LogRecord("crplugins.x", logging.WARNING, "", 1, "request id-7 failed", (), None)
    vars(record)["request_id"] = "id-7"
    assert LineFormatter("%(message)s").format(record) == "request id-7 failed"
    record.msg = "it failed"
    assert LineFormatter("%(message)s").format(record) == "it failed (request id-7)"


ANSWERS = {
    "html": Script(body=f"<html>{PROMPT} {UPSTREAM_KEY}</html>", content_type="text/html"),
    "no completion": Script(body={"said": PROMPT, "key": UPSTREAM_KEY}),
    "refusal": Script(status=404, body={"error": {"message": f"no `{PROMPT}`{FORGED} {UPSTREAM_KEY}", "code": FORGED}}),
    "own fault": Script(status=401, body={"error": {"message": f"{PROMPT} {UPSTREAM_KEY}", "type": UPSTREAM_KEY}}),
    "failure": Script(status=500, body=f"{PROMPT} {UPSTREAM_KEY}{FORGED}"),
    "no json in a stream": Script(events=[f'data: {{"a": "{PROMPT} {UPSTREAM_KEY}\n\n'.encode()]),
    "an error in a stream": Script(events=[b"data: " + json.dumps({"error": f"{PROMPT}{FORGED}"}).encode() + b"\n\n"]),
    "strange header": Script(status=429, body={"error": PROMPT}, headers={"retry-after": f"1 {PROMPT}"}),
    "redirect": Script(status=302, body=PROMPT, headers={"location": f"http://x/{UPSTREAM_KEY}"}),
}


@pytest.fixture
def clean_log() -> Iterator[None]:
    """The log of the test, which must hold nothing of what an upstream has said, and say of whom it speaks."""
    stream = io.StringIO()
    with log_to(stream, others=True):
        yield
    text = stream.getvalue()
    assert PROMPT not in text
    assert UPSTREAM_KEY not in text
    lines = text.splitlines()
    assert all(line.isprintable() for line in lines)
    about = [line for line in lines if "crplugins.upstream" in line]
    assert len(about) >= len(ANSWERS)
    for line in about:
        assert "request 0" in line
        assert "deployment m (openai/upstream-model at 127.0.0.1:" in line


@pytest.mark.usefixtures("clean_log")
@pytest.mark.parametrize("handler", ["direct", "litellm"])
async def test_whatever_an_upstream_answers_the_log_has_nothing_of_it(behind: Behind, handler: str) -> None:
    async with behind(handler=handler) as gateway:
        for script in ANSWERS.values():
            for streamed in (False, True):
                gateway.provider.enqueue(script)
                answer = await gateway.post(stream=streamed, user=PROMPT + FORGED)
                assert UPSTREAM_KEY not in answer.text
