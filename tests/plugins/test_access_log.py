import asyncio
import io
import json
import logging
import os
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.cli.logs import log_to
from crplugins.core.exchange import Exchange, Timings
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.core.usage import Price, TokenUsage
from crplugins.plugins.access_log import AccessLog, JSONFormatter
from crplugins.plugins.auth import Auth
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.testing import Drive, PluginContract, drive

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
SECRET = "sk-team-a-0123456789abcdef"
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "a word nobody logs"}]}
DOCUMENT = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"served","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"an answer nobody logs"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10}}'
)


class TestAccessLog(PluginContract):
    def make_plugin(self) -> Plugin:
        return AccessLog()


class ReadsBody(Plugin):
    """Reads what the record needs, as Usage does."""

    reads_body = reads_events = observes = True

    def on_event(self, exchange, event):
        return event


async def app(scope, receive, send):
    exchange = scope["crplugins.exchange"]
    exchange.begin_attempt("openai").ended = exchange.clock()
    exchange.served_model = "gpt-4o-mini-2024-07-18"
    exchange.price = Price(150_000, 600_000)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": DOCUMENT, "more_body": False})


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="crplugins.access")
    return lambda: [record for record in caplog.records if record.name == "crplugins.access"]


def guarded(*plugins):
    auth = Auth([{"id": "team-a", "secret": SECRET, "team": "search"}])
    return PluginMiddleware(app, plugins=[AccessLog(), auth, *plugins, ReadsBody()])


async def test_one_record_with_everything_but_what_was_said(log):
    headers = {"authorization": f"Bearer {SECRET}", "traceparent": TRACEPARENT}
    answer = await drive(guarded(), body=CHAT, headers=headers)
    [record] = log()
    facts = record.crplugins
    assert {key: facts[key] for key in facts if key not in ("duration_ms", "overhead_us")} == {
        "request_id": answer.headers["x-request-id"],
        "trace_id": TRACE,
        "endpoint": "chat",
        "key_id": "team-a",
        "team": "search",
        "model": "gpt-4o-mini",
        "served_model": "gpt-4o-mini-2024-07-18",
        "provider": "openai",
        "status": 200,
        "outcome": "ok",
        "error_type": "",
        "stream": False,
        "ttft_ms": None,
        "input_tokens": 8,
        "output_tokens": 2,
        "usage_source": "provider",
        "cost_usd": 2e-6,
        "attempts": 1,
    }
    assert facts["duration_ms"] >= 0
    assert facts["overhead_us"] >= 0
    assert record.levelno == logging.INFO
    line = record.getMessage()
    assert line.startswith("200 ok model='gpt-4o-mini' key='team-a' tokens=8+2 cost=$0.000002 duration=")
    assert line.endswith(f"ms request={answer.headers['x-request-id']}")
    whole = JSONFormatter().format(record) + line
    assert "nobody logs" not in whole
    assert SECRET not in whole
    assert "127.0.0.1" not in whole


async def test_a_request_without_a_good_key_is_logged_too(log):
    answer = await drive(guarded(), body=CHAT, headers={"authorization": "Bearer sk-wrong"})
    [record] = log()
    assert record.crplugins["status"] == answer.status == 401
    assert (record.crplugins["error_type"], record.crplugins["outcome"]) == ("unauthenticated", "client_error")
    assert record.crplugins["key_id"] is record.crplugins["model"] is None
    assert record.getMessage().startswith("401 unauthenticated model=None key=None tokens=0+0 cost=$0.000000 ")
    assert "trace_id" not in record.crplugins


async def test_an_unknown_price_is_not_shown_as_no_cost(log):
    async def unpriced(scope, receive, send):
        await app(scope, receive, send)
        scope["crplugins.exchange"].price = None

    await drive(PluginMiddleware(unpriced, plugins=[AccessLog(), ReadsBody()]), body=CHAT)
    [record] = log()
    assert record.crplugins["cost_usd"] is None
    assert "cost=unknown" in record.getMessage()


async def test_other_paths_are_nobodys_business_here(log):
    await drive(guarded(), "GET", "/healthz")
    assert log() == []


async def test_a_client_that_leaves_is_logged_once(log):
    async def waits(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    async with Drive(PluginMiddleware(waits, plugins=[AccessLog()]), body=CHAT) as call:
        await call.next_body()
        call.disconnect()
        await call.finish()
    [record] = log()
    assert (record.crplugins["status"], record.crplugins["outcome"]) == (200, "cancelled")
    assert record.getMessage().startswith("200 client_disconnected ")


@pytest.mark.parametrize(
    "name",
    ["m\n200 ok model='x'", "\x1b[2J\x1b[31m", "a\r\nb", "\u202egpt", "\u2028", "\x00", "x" * 5000],
)
async def test_a_models_name_cannot_forge_a_line(log, name):
    await drive(PluginMiddleware(app, plugins=[AccessLog(), ReadsBody()]), body={**CHAT, "model": name})
    [record] = log()
    for text in (record.getMessage(), record.crplugins["model"]):
        assert text.isprintable()
        assert len(text) < 700
    assert len(record.getMessage().splitlines()) == 1


async def test_a_printable_name_stands_as_it_is(log):
    await drive(PluginMiddleware(app, plugins=[AccessLog(), ReadsBody()]), body={**CHAT, "model": "模型 'a'"})
    [record] = log()
    assert record.crplugins["model"] == "模型 'a'"


async def test_nothing_is_made_where_nobody_listens(caplog, monkeypatch):
    caplog.set_level(logging.WARNING, logger="crplugins.access")
    monkeypatch.setattr("crplugins.plugins.access_log.record_of", lambda exchange: pytest.fail("a record was made"))
    await drive(guarded(), body=CHAT, headers={"authorization": f"Bearer {SECRET}"})
    assert caplog.records == []


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (TRACEPARENT, TRACE),
        (f" {TRACEPARENT[:-2]}00 ", TRACE),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-later-versions", TRACE),
        (f"{TRACEPARENT}-more", None),
        (TRACEPARENT.upper(), None),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"{TRACEPARENT}\nforged", None),
        ("", None),
    ],
)
async def test_the_trace_is_a_valid_traceparents(log, traceparent, trace_id):
    await drive(PluginMiddleware(app, plugins=[AccessLog()]), body=CHAT, headers={"traceparent": traceparent})
    [record] = log()
    assert record.crplugins.get("trace_id") == trace_id


async def test_what_tracing_made_of_the_trace_goes_before_what_the_client_sent(log):
    class Traced(Plugin):
        async def on_request(self, exchange):
            exchange.trace_headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}

    await drive(PluginMiddleware(app, plugins=[Traced(), AccessLog()]), body=CHAT, headers={"traceparent": TRACEPARENT})
    [record] = log()
    assert record.crplugins["trace_id"] == "a" * 32


async def test_a_refusal_of_the_guard_has_its_error_type(log):
    await drive(PluginMiddleware(app, plugins=[AccessLog(), RequestGuard()]), body={"model": "m", "messages": []})
    [record] = log()
    assert (record.crplugins["status"], record.crplugins["error_type"]) == (400, "invalid_request")
    assert record.crplugins["model"] == "m"


# JSONFormatter


def make_record(message="hello", **options):
    record = logging.LogRecord("crplugins.x", logging.WARNING, __file__, 1, message, options.pop("args", ()), None)
    record.created = 1_700_000_000.25
    for name, value in options.items():
        setattr(record, name, value)
    return record


def test_a_record_is_one_json_object_a_line():
    line = JSONFormatter().format(
        make_record("%s\nand %s", args=("one", "two"), crplugins={"status": 200, "model": "m"})
    )
    assert len(line.splitlines()) == 1
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "WARNING",
        "logger": "crplugins.x",
        "message": "one\nand two",
        "status": 200,
        "model": "m",
    }
    assert datetime.fromisoformat(json.loads(line)["time"]).timestamp() == 1_700_000_000.25


def test_facts_never_stand_in_for_the_records_own():
    record = make_record(crplugins={"message": "forged", "level": "DEBUG", "other": 1})
    line = json.loads(JSONFormatter().format(record))
    assert (line["message"], line["level"], line["other"]) == ("hello", "WARNING", 1)


def test_an_exception_is_text_in_a_field():
    try:
        int("wrong")
    except ValueError:
        record = make_record(exc_info=sys.exc_info(), stack_info="Stack")
    line = json.loads(JSONFormatter().format(record))
    assert line["exception"].endswith("'wrong'")
    assert line["exception"].startswith("Traceback")
    assert line["stack"] == "Stack"


@pytest.mark.parametrize("facts", [None, "text", 7, {}])
def test_a_record_of_anybody_may_be_formatted(facts):
    assert json.loads(JSONFormatter().format(make_record(crplugins=facts)))["message"] == "hello"


def test_values_json_does_not_know_become_text():
    for facts in ({"odd": object}, {"odd": object, ("a", 1): 1, "half": "\ud800", "nan": float("nan")}):
        line = JSONFormatter().format(make_record(crplugins=facts))
        assert json.loads(line)["odd"] == "<class 'object'>"
        line.encode()


# log_to


def test_records_of_the_block_are_written_in_their_order_and_logging_is_left_as_it_was():
    logger = logging.getLogger("crplugins.test")
    root = logging.getLogger("crplugins")
    before = (root.level, list(root.handlers))
    stream = io.StringIO()
    with log_to(stream, formatter=JSONFormatter()):
        for n in range(100):
            logger.info("line %d", n)
        logger.debug("too fine")
    logger.error("outside")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [f"line {n}" for n in range(100)]
    assert (root.level, root.handlers) == before


def test_without_a_formatter_lines_are_for_people():
    stream = io.StringIO()
    with log_to(stream, level=logging.WARNING, loggers=["crplugins.test"]):
        logging.getLogger("crplugins.test").warning("the %s", "message")
    assert stream.getvalue().endswith(" WARNING crplugins.test: the message\n")


def test_exceptions_are_kept_apart_from_messages():
    stream = io.StringIO()
    with log_to(stream, formatter=JSONFormatter()):
        try:
            int("teapot")
        except ValueError:
            logging.getLogger("crplugins.test").exception("failed")
    line = json.loads(stream.getvalue())
    assert line["message"] == "failed"
    assert "teapot" in line["exception"]


def test_arguments_are_read_when_the_record_is_made():
    stream = Gated()
    things = ["before"]
    with log_to(stream):
        logging.getLogger("crplugins.test").info("%s", things)
        things[0] = "after"
        stream.open.set()
    assert "before" in stream.text


class Gated(io.StringIO):
    """A stream that takes nothing until it is opened, as a full pipe."""

    def __init__(self):
        super().__init__()
        self.open = threading.Event()
        self.text = ""

    def write(self, text):
        self.open.wait()
        self.text += text
        return len(text)


def test_a_stream_that_takes_nothing_stops_nobody_and_what_does_not_fit_is_counted():
    stream = Gated()

    async def many():
        for n in range(1000):
            logging.getLogger("crplugins.test").info("line %d", n)
            await asyncio.sleep(0)

    with log_to(stream, pending=50):
        asyncio.run(asyncio.wait_for(many(), 60))
        stream.open.set()
    lines = stream.text.splitlines()
    written = [line for line in lines if "dropped" not in line]
    dropped = sum(int(line.split(": ")[1].split()[0]) for line in lines if "dropped" in line)
    assert len(written) + dropped == 1000
    assert 50 <= len(written) <= 100


def test_a_line_is_in_its_file_before_the_next_step_of_the_request(tmp_path):
    file = tmp_path / "log"
    with file.open("w") as stream, log_to(stream):
        logging.getLogger("crplugins.test").warning("refused")
        assert file.read_text().endswith("refused\n")


def test_a_pipe_that_is_full_stops_nobody_and_its_lines_stay_in_order():
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as stream:
        lines = [f"line {number} {'x' * 1000}" for number in range(200)]  # three times what a pipe holds
        with log_to(stream):
            for line in lines:
                logging.getLogger("crplugins.test").warning(line)
            found = [reader.readline().partition(": ")[2].rstrip() for _ in lines]
    assert found == lines


def test_a_stream_that_is_stuck_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr("crplugins.cli.logs._CLOSING_SECONDS", 0.01)
    stream = Gated()
    with log_to(stream):
        logging.getLogger("crplugins.test").info("never read")
    assert stream.text == ""
    stream.open.set()  # lets the thread end


def test_a_stream_that_fails_costs_its_record_only(capsys):
    class Failing(io.StringIO):
        def write(self, text):
            if "first" in text:
                raise OSError("no space left")
            return super().write(text)

    stream = Failing()
    with log_to(stream):
        logging.getLogger("crplugins.test").info("first")
        logging.getLogger("crplugins.test").info("second")
    assert stream.getvalue().endswith("second\n")
    assert "no space left" in capsys.readouterr().err


# Cost


def finished_exchange():
    headers = [(b"host", b"gateway"), (b"traceparent", TRACEPARENT.encode())]
    exchange = Exchange("0193-r", "POST", "/v1/chat/completions", headers, None, time.monotonic, Timings(0.0))
    exchange.principal = Principal("team-a", team="search")
    exchange.requested_model, exchange.served_model, exchange.status, exchange.outcome = "gpt-4o", "gpt-4o", 200, "ok"
    exchange.usage, exchange.usage_source, exchange.price = TokenUsage(1000, 100), "provider", Price(1, 1)
    exchange.timings.ended = 1.0
    return exchange


@pytest.mark.bench
def test_the_cost_of_a_line():
    logger = logging.getLogger("crplugins.access")
    exchange, plugin = finished_exchange(), AccessLog()
    plugin.on_finish(exchange)  # the record is made for all who ask

    def best():
        rounds = []
        for _ in range(7):
            start = time.perf_counter()
            for _ in range(2000):
                plugin.on_finish(exchange)
            rounds.append((time.perf_counter() - start) / 2000 * 1e6)
        return min(rounds)

    print(f"AccessLog, nobody listens: {best():.2f} us")
    handlers = {"NullHandler": logging.NullHandler(), "JSON to a stream": logging.StreamHandler(io.StringIO())}
    handlers["JSON to a stream"].setFormatter(JSONFormatter())
    logger.propagate = False
    try:
        logger.setLevel(logging.INFO)
        for name, handler in handlers.items():
            logger.addHandler(handler)
            print(f"AccessLog, {name}: {best():.2f} us")
            logger.removeHandler(handler)
        with (
            Path(os.devnull).open("w") as null,
            log_to(null, formatter=JSONFormatter(), loggers=["crplugins.access"], pending=10**9),
        ):
            print(f"AccessLog, log_to, with its thread at work: {best():.2f} us")
    finally:
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
