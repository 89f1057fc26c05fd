"""Estimates that are short: what an answer took beyond its estimate is repaid, and no request buys itself a longer one."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import pytest

from crplugins import Gateway
from crplugins.testing import FakeProvider, Script
from tests.attacks.house import (
    PATIENCE,
    Answer,
    Asked,
    RawProvider,
    completion,
    http,
    question,
    response,
    send,
    send_at_once,
)
from tests.homes.matrix.stage import Stage

LIMIT, MAX_DEBT = 1_000, 60
"""Tokens in an hour, and how many of these limits may be owed: the time that a test takes repays next to nothing."""

KEYS = [f"sk-debt-{number:03}-0123456789" for number in range(80)]
HANDLERS = ("direct", "litellm")


class Debts:
    """A gateway with a limit of tokens for each key. `raw` answers the models m and l, `fake` streams of long and long-l."""

    def __init__(self, stage: Stage) -> None:
        self.raw, self.fake = stage.enter(RawProvider(takes_what_it_says)), stage.enter(FakeProvider())
        self.stage, self._keys = stage, iter(KEYS)
        served = [
            ("m", "direct", self.raw),
            ("l", "litellm", self.raw),
            ("long", "direct", self.fake),
            ("long-l", "litellm", self.fake),
        ]
        app = Gateway(
            model_list=[
                {
                    "model_name": name,
                    "litellm_params": {"model": "openai/served", "api_base": provider.base_url, "api_key": "sk-up-0123456789", "max_retries": 0},
                    "handler": handler,
                }
                for name, handler, provider in served
            ],
            keys=[{"id": key[3:], "secret": key} for key in KEYS],
            limits={"per_key": {"tokens_per_hour": LIMIT}, "estimated_output_tokens": 100},
        )  # fmt: skip
        app.resolve()
        self.port = int(stage.serve(app).rpartition(":")[2])
        stage.run(app.loaded(), within=300)

    def new_key(self) -> str:
        return next(self._keys)

    def ask(self, key: str, model: str = "m", **body: Any) -> Answer:
        return send(self.port, http(body=question(model, **body), key=key))

    def owed(self, key: str) -> float:
        """How many limits have to be repaid before the whole limit is there again, by the waiting time of a refusal."""
        refused = self.ask(key, max_tokens=LIMIT - 50)
        assert refused.status == 429
        (wait,) = re.findall(rb"\nretry-after: ([0-9]+)\r", refused.head.lower())
        return int(wait) / 3600

    def left(self, key: str) -> int:
        """The tokens that a key has left, as its next answer says; that answer takes a few of them."""
        (tokens,) = re.findall(rb"\nx-ratelimit-remaining-tokens: ([0-9]+)\r", self.ask(key, max_tokens=1).head.lower())
        return int(tokens)


def takes_what_it_says(asked: Asked) -> bytes:
    """An answer whose usage stands in the request, as its `user`."""
    took = int(json.loads(asked.body).get("user", 1))
    return response(completion(usage={"prompt_tokens": 9, "completion_tokens": took, "total_tokens": 9 + took}))


@pytest.fixture(scope="module")
def debts() -> Iterator[Debts]:
    with Stage() as stage:
        yield Debts(stage)


# How a request is estimated to take little.
SHORT: dict[str, dict[str, Any]] = {
    "no bound": {},
    "a small bound": {"max_tokens": 1},
    "a small bound by its new name": {"max_completion_tokens": 1},
    "two bounds, of which the new one is small": {"max_completion_tokens": 1, "max_tokens": 900},
    "null": {"max_tokens": None},
    "several answers": {"max_tokens": 1, "n": 2},
    "a low effort": {"max_completion_tokens": 1, "reasoning_effort": "low"},
}


@pytest.mark.parametrize("model", ["m", "l"])
@pytest.mark.parametrize("name", SHORT)
def test_what_an_estimate_was_short_of_is_repaid(debts: Debts, name: str, model: str) -> None:
    key = debts.new_key()
    assert debts.ask(key, model, user=str(20 * LIMIT), **SHORT[name]).status == 200
    assert 19 < debts.owed(key) < 20.1
    for small in ({"max_tokens": 1}, {}, {"max_tokens": 1, "stream": True}):
        assert debts.ask(key, model, **small).status == 429


def test_debts_add_up_to_their_bound_and_not_beyond(debts: Debts) -> None:
    key = debts.new_key()
    assert debts.ask(key, user=str(10**9)).status == 200
    assert MAX_DEBT - 1 < debts.owed(key) < MAX_DEBT + 1.1


def test_several_at_once_owe_the_sum(debts: Debts) -> None:
    key = debts.new_key()
    asked = http(body=question("m", user=str(5 * LIMIT), max_tokens=1), key=key)
    passed = [answer.status for answer in send_at_once([debts.port], [asked] * 6)].count(200)
    assert passed >= 1
    assert 5 * passed - 1 < debts.owed(key) < 5 * passed + 0.1


class Bound(NamedTuple):
    body: dict[str, Any]
    statuses: set[int]


# What stands in the place of a bound. A request that is refused takes nothing and reaches nobody.
BOUNDS: dict[str, Bound] = {
    "more than the limit": Bound({"max_tokens": LIMIT + 1}, {429}),
    "more than any model says": Bound({"max_tokens": 10**12}, {400, 429}),
    "more than 64 bits": Bound({"max_tokens": 2**64}, {400, 429}),
    "a number of 300 digits": Bound({"max_tokens": 10**300}, {400, 429}),
    "hidden in the old name": Bound({"max_completion_tokens": 10**12, "max_tokens": 1}, {400, 429}),
    "many answers": Bound({"max_tokens": 100, "n": 11}, {400, 429}),
    "nothing": Bound({"max_tokens": 0}, {200, 400}),
    "less than nothing": Bound({"max_tokens": -LIMIT}, {400}),
    "less than nothing of many answers": Bound({"max_tokens": 100, "n": -11}, {400}),
    "a text": Bound({"max_tokens": "1"}, {400}),
    "a fraction": Bound({"max_tokens": 0.5}, {400}),
    "an exponent": Bound({"max_tokens": 1e12}, {400, 429}),
    "a yes": Bound({"max_tokens": True}, {400}),
    "a list": Bound({"max_tokens": [1]}, {400}),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDS)
def test_no_bound_gives_anything_back_or_passes_the_limit(debts: Debts, name: str) -> None:
    key, asked = debts.new_key(), len(debts.raw.asked)
    body, statuses = BOUNDS[name]
    answer = debts.ask(key, **body)
    assert answer.status in statuses
    assert len(debts.raw.asked) - asked == (answer.status == 200)
    assert LIMIT - 60 < debts.left(key) <= LIMIT


def read_until(connection: socket.socket, words: int) -> None:
    """Reads a stream until so many events have come."""
    got = b""
    while got.count(b"data: ") < words:
        piece = connection.recv(1 << 16)
        assert piece, got[-500:]
        got += piece


# How a client that has read a part of a stream goes.
LEAVING = {"closes": False, "resets": True}


@pytest.mark.parametrize("model", ["long", "long-l"])
@pytest.mark.parametrize("how", LEAVING)
def test_a_stream_beyond_its_estimate_reserves_more_and_is_paid_by_who_leaves_it(
    debts: Debts, how: str, model: str
) -> None:
    said, key = 600, debts.new_key()
    debts.fake.default = Script(text="word " * 2_000, chunk_size=5, stall_after=said)
    with closing(socket.create_connection(("127.0.0.1", debts.port), timeout=PATIENCE)) as connection:
        connection.sendall(http(body=question(model, stream=True), key=key))
        read_until(connection, said - 10)
        running = debts.left(key)
        assert running < LIMIT - 550, "what it has said is not there for others"
        if LEAVING[how]:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    debts.stage.run(debts.fake.wait_idle())
    assert debts.left(key) < LIMIT - 550, "it is charged for what it was shown"
