"""Every regular expression of the package is on one of two lists, and those that outsiders reach take linear time.

A pattern that takes a text of a client or of an upstream runs on the event loop: one that is quadratic stops everybody
with a few kilobytes. What is timed is a ratio: ten times the text takes about ten times as long, not a hundred times.
"""

import ast
import importlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

import crplugins
from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.lenient_json import first_json_value, strict_json
from crplugins.core.patterns import is_model_name
from crplugins.core.redaction import one_line, scrub
from crplugins.core.sse import Splitter, begins_stream, without_comments
from crplugins.handlers.demo import tokens
from crplugins.handlers.error_bodies import read_error
from crplugins.plugins.aliases.rename import NameScrubber

PACKAGE = Path(crplugins.__file__).parent

FOREIGN = {
    "asgi.incoming._CHARSET": "search", "core.patterns._DOT_SEGMENT": "search",
    "core.form_body._disposition": "match", "core.form_body._text": "match", "core.form_body._type": "match",
    "core.answer_forms._COUNT_IN_QUOTES": "search", "core.request_json._NUMBERS": "search", "handlers.handler._CONTENT_TYPE": "match",
    "plugins.guard.anthropic._BOUND": "search", "plugins.guard.anthropic._INDEX": "search",
    "core.body._END": "match", "core.body._MEMBER": "match", "core.lenient_json._HALF_A_PAIR": "search",
    "core.lenient_json._WORD": "search", "core.paths._CUTS": "search", "core.paths._BEFORE_ENDING": "match",
    "core.paths._IGNORED": "search", "core.paths._ORDINARY": "match", "core.paths._PARAMETERS": "search",
    "core.paths._PLAIN": "match", "core.patterns._ARN": "match", "core.patterns._NAME": "match",
    "core.patterns._SCHEME": "search", "core.redaction._addresses": "search", "core.redaction._keys": "search",
    "core.redaction._litellm_classes": "search", "core.sse._BEFORE_ANSWER": "match", "core.sse._BLANK_LINE": "search",
    "core.sse._LINE": "search", "core.stream_options._AS_A_WORD": "search",
    "core.trace._TRACEPARENT": "match", "handlers.http.pool._TIMEOUT": "search", "handlers.demo._TOKEN": "search",
    "handlers.wires.completion._PIECE": "search",
    "handlers.litellm.errors._CLASSES": "match", "handlers.litellm.errors._QUOTED": "search",
    "handlers.litellm.embeddings._COUNT": "search", "handlers.protocols._REASONING": "search",
    "handlers.upstream._RESPONSES_MODELS": "search",
    "handlers.routing.affinity._BETWEEN": "match",
    "handlers.faults_of_requests._filtered": "search", "handlers.faults_of_requests._too_long": "search",
    "handlers.faults_of_requests._of_an_account": "search", "handlers.faults_of_requests._lacks_model": "search",
    "handlers.faults_of_requests._too_soon": "match",
    "handlers.litellm.errors._UNSUPPORTED": "search", "handlers.upstream_errors._LEADING_NUMBER": "match",
    "handlers.upstream_errors._NUMBER": "match", "handlers.error_bodies._DELAY": "fullmatch", "handlers.upstream_errors._DATE": "match",
    "handlers.direct_headers._VERSION": "fullmatch", "handlers.direct_headers._FEATURE": "fullmatch",
    "handlers.direct_query._VALUE": "fullmatch",
    "handlers.error_bodies._STATUS": "match", "handlers.upstream_errors._out_of_credit": "search",
    "keys.jwt.claims._SEPARATORS": "search", "keys.secrets._FORM": "match",
    "ledger.question._AGO": "match", "metering.attachments._GEMINI": "search",
    "metering.attachments._LARGE_CLAUDE": "search", "metering.attachments._PATCHES": "search",
    "metering.attachments._TILES": "search", "metering.attachments._DRAWS_ON_CANVAS": "search",
    "metering.drawings._SIZE": "fullmatch", "metering.price_table._AWS_REGION": "match",
    "metering.price_table._BEDROCK_ROUTE": "match", "metering.price_table._BEDROCK_SIZE": "search",
    "metering.price_table._DATE": "search", "metering.price_table._FINE_TUNE": "search",
    "metering.price_table._GOOGLE_VERSION": "search", "metering.prompt._MEDIA": "search",
    "plugins.aliases.rename._LEADING": "match", "plugins.aliases.rename._STRING": "search",
    "plugins.guard.parameters._NAME": "match", "plugins.rate_limits.address._ELEMENT": "match",
    "plugins.rate_limits.address._ESCAPED": "search", "plugins.rate_limits.address._PAIR": "match",
}  # fmt: skip
"""Patterns that see what clients and upstreams write, and whether they search a text or begin at its start."""

PATHS = {"homes.litellm_proxy.entry._NAMED"}
"""See paths of requests, which servers bound, and begin where the path begins."""

MADE = {
    "core.paths.ModelPaths",
    "core.paths._pattern",
    "core.redaction._pattern_of",
    "plugins.aliases.rename.NameScrubber",
}
"""Made of literal words of the configuration. Timed by those who use them, below and in the tests of paths."""

OPERATORS = (
    "cli.", "config.", "core.off_peak.", "core.processes.", "core.redaction._whole", "core.redaction.without_credentials",
    "homes.litellm_proxy.routes.",
    "keys.entry.", "keys.file.", "keys.secrets._HASH", "ledger.reconcile.", "limits.opening.", "limits.redis.", "metering.fees.", "metering.prices.",
    "plugins.aliases.rename._whole", "settings.", "sql.", "testing.",
)  # fmt: skip
"""What begins so reads files, options, answers of our own stores, and the scripts of tests."""

UNITS = [
    "a", "A", ".", "-", "_", ":", "/", "\\", '"', "'", "[", "{", ",", " ", "\n", "\r", "0", "a.", "a-", "a:", "a:/", "://",
    "1.", "0:", "key-", "sk-", "Bearer ", "Error", "AError: ", "\\n", '\\"', '"a":', '"a":1,', ": a\n", "\r\n", "\\ud800",
    "NaN", "insufficient ", "does not support parameters: [", "file:", "arn:aws:", "-1", "gpt-4", "[a", "data:",
    "model `", "invalid model ",
]  # fmt: skip

CALLS = ("compile", "escape", "match", "fullmatch", "search", "sub", "findall", "split")
SHORT, LONG = 2_000, 20_000


def used() -> Iterator[str]:
    """`module.name` of everything in the package that calls a function of `re`."""
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        text = path.read_text()
        for statement in ast.parse(text).body if "re." in text else ():
            for node in ast.walk(statement):
                if isinstance(node, ast.Attribute) and node.attr in CALLS and ast.unparse(node.value) == "re":
                    yield f"{module}.{_name(statement)}"


def _name(statement: ast.stmt) -> str:
    if isinstance(statement, ast.AnnAssign):
        return ast.unparse(statement.target)
    if isinstance(statement, ast.Assign):
        return ast.unparse(statement.targets[0])
    return str(getattr(statement, "name", "?"))


def test_every_pattern_is_on_a_list_and_every_line_of_the_lists_is_in_use() -> None:
    found = set(used())
    unlisted = {name for name in found if name not in FOREIGN.keys() | MADE | PATHS and not name.startswith(OPERATORS)}
    assert unlisted == set()
    assert FOREIGN.keys() | MADE | PATHS <= found


def patterns_in(value: Any) -> Iterator["re.Pattern[Any]"]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from patterns_in(item)
    elif hasattr(value, "cache_info"):  # makes its pattern when it is first asked for
        yield from patterns_in(value())


def seconds(work: Callable[[], Any]) -> float:
    best = 9.0
    for _ in range(3):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def assert_linear(read: Callable[[str], Any], unit: str) -> None:
    """On a short text and on one ten times as long; a tenth of a millisecond is below what can be measured."""
    long = seconds(lambda: read((unit * LONG)[:LONG]))
    if long > 0.004:
        assert long < 40 * seconds(lambda: read((unit * LONG)[:SHORT])) + 0.002, unit


@pytest.mark.parametrize("name", FOREIGN)
def test_a_pattern_that_outsiders_reach_is_linear(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    for pattern in patterns_in(getattr(importlib.import_module(f"crplugins.{module}"), attribute)):
        for unit in UNITS:

            def read(text: str, pattern: "re.Pattern[Any]" = pattern) -> None:
                subject: Any = text.encode() if isinstance(pattern.pattern, bytes) else text
                if FOREIGN[name] == "search":
                    pattern.sub(subject[:0], subject)
                pattern.match(subject)
                pattern.fullmatch(subject)

            assert_linear(read, unit)


def read_request(text: str) -> None:
    with suppress(GatewayError):
        Body.of_request(text.encode())


def in_pieces(data: bytes) -> None:
    splitter = Splitter()
    for start in range(0, len(data), 100):
        splitter.feed(data[start : start + 100])


LOOPS: dict[str, Callable[[str], Any]] = {
    "Body.of_request": lambda text: read_request(f'{{"model":"m","x":"{text}"}}'),
    "Body.of_request, keys": lambda text: read_request(
        "{" + "".join(f'"{n}":1,' for n in range(len(text) // 20)) + "}"
    ),
    "Body.of_request, raw": read_request,
    "scrub": lambda text: scrub(text, ["a.example:8000", "sk-0123456789"]),
    "one_line": one_line,
    "NameScrubber": lambda text: NameScrubber(["gpt-4", "large"], "fast").scrub(f'{{"a":"{text}"}}'.encode()),
    "strict_json": lambda text: strict_json(text.encode()),
    "first_json_value": lambda text: first_json_value(text.encode()),
    "read_error": lambda text: read_error(text.encode()),
    "read_error, nested": lambda text: read_error(
        f'{{"error":{{"message":{msgspec.json.encode(text).decode()}}}}}'.encode()
    ),
    "Splitter": lambda text: Splitter().feed(text.encode()),
    "Splitter, in pieces": lambda text: in_pieces(text.encode()),
    "begins_stream": lambda text: begins_stream(text.encode()),
    "without_comments": lambda text: without_comments(text.encode()),
    "is_model_name": is_model_name,
    "demo": tokens,
}
"""What else reads texts of outsiders piece by piece."""


@pytest.mark.parametrize("name", LOOPS)
def test_what_reads_texts_of_outsiders_is_linear(name: str) -> None:
    for unit in UNITS:
        assert_linear(LOOPS[name], unit)
