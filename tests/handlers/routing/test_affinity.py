"""Sessions stay where their prompt is in the cache, and nobody gets more than its share by that."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange
from crplugins.core.identity import IdentitySource
from crplugins.core.principal import Principal
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.routing.affinity import (
    LEAST_PROMPT_BYTES,
    MOST_LOAD,
    MOST_PREFIX_BYTES,
    MOST_SESSIONS,
    session_of,
    with_room,
)
from crplugins.handlers.routing.balancing import Balancer
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.settings import GroupSettings, RoutingSettings, Strategy
from crplugins.handlers.routing.strategy import balancer_of
from crplugins.testing import FrozenClock
from tests.handlers.routing.virtual import Scripted, VirtualTime, exchange_at

SOURCES = (IdentitySource.of("header:x-session-id"), IdentitySource.of("metadata:session_id"))
SYSTEM = {"role": "system", "content": "You are a careful assistant. " * 200}
ASKED = {"role": "user", "content": "What is in the file?"}
MORE = [{"role": "assistant", "content": "A poem."}, {"role": "user", "content": "Read it to me."}]


def candidates(*weights: float, running: Sequence[int] = ()) -> list[Candidate]:
    made = [
        Candidate(
            Deployment("m", "openai/m", api_base=f"http://{number}.test/v1", routing=RoutingSettings(weight=weight)),
            Scripted(VirtualTime()),
        )
        for number, weight in enumerate(weights)
    ]
    for each, number in zip(made, running, strict=False):
        each.health.running = number
    return made


def affinity(strategy: Strategy = "simple-shuffle", seconds: float = 300.0) -> Balancer:
    return balancer_of(GroupSettings(strategy, seconds), SOURCES)


def request(
    clock: FrozenClock | None = None,
    *,
    messages: Any = (SYSTEM, ASKED),
    key: str | None = "team-a",
    session: str | None = None,
    **fields: Any,
) -> Exchange:
    exchange = exchange_at(clock or FrozenClock())
    exchange.body = Body(json.dumps({"model": "m", "messages": messages, **fields}).encode())
    exchange.principal = None if key is None else Principal(key)
    if session is not None:
        exchange.headers = [(b"x-session-id", session.encode())]
    return exchange


def pick(balancer: Balancer, among: Sequence[Candidate], exchange: Exchange) -> Candidate:
    assert exchange.body is not None
    return balancer.pick(among, exchange, exchange.body)


def same(first: Exchange, second: Exchange) -> bool:
    sessions = [session_of(each, each.body or Body(b""), SOURCES) for each in (first, second)]
    return sessions[0] is not None and sessions[0] == sessions[1]


LONG_QUESTION = {"role": "user", "content": "word " * 1000}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {"messages": [SYSTEM, ASKED, *MORE]}, True),
        ({"messages": [LONG_QUESTION]}, {"messages": [LONG_QUESTION, *MORE]}, True),
        ({"temperature": 1}, {"temperature": 0, "user": "b"}, True),
        ({}, {"messages": [SYSTEM, MORE[1]]}, False),
        ({}, {"key": "team-b"}, False),
        ({"tools": [{"a": 1}]}, {"tools": [{"a": 2}]}, False),
        ({"messages": [ASKED]}, {"messages": [ASKED]}, False),  # a short prompt is in no cache
        ({"messages": [ASKED], "session": "s"}, {"messages": MORE, "session": "s"}, True),
        ({"messages": [ASKED], "session": "s"}, {"messages": [ASKED], "session": "t"}, False),
        ({"session": "s"}, {"metadata": {"session_id": "s"}}, True),
        ({"session": "s"}, {"session": "s", "key": "team-b"}, False),
        ({"session": "s"}, {"session": "s", "key": None}, False),
        ({"prompt_cache_key": "p", "messages": [ASKED]}, {"prompt_cache_key": "p", "session": "t"}, True),
        ({"prompt_cache_key": "p"}, {"session": "p", "prompt_cache_key": "q"}, False),
        ({"prompt_cache_key": 7}, {"prompt_cache_key": ""}, True),  # no name: the prompt decides
        ({"session": "s" * 300}, {}, True),  # likewise, whatever the limits of sessions say about it
    ],
)
def test_requests_of_one_session(first: Any, second: Any, expected: bool) -> None:
    assert same(request(**first), request(**second)) is expected


HOSTILE = [
    b'"' + b"x" * 5000 + b'"',
    b"[" * 5000 + b"]" * 5000,
    b"[" + b"1," * 20_000 + b"1]",
    b"[" + b"7" * 70_000 + b"]",
    b"[" + b" " * 1_000_000 + b"{}]",
    b"[" + b'{"role":"assistant"},' * 9000 + b'{"role":"user"}]',
    b'[{"role":"user","content":"' + b"\xf0\x9f\x98\x80" * 30_000 + b'"}]',
    b'[{"role":"system","content":"\t' + b"a" * 5000 + b'"}]',
    b"{}" + b" " * 5000,
]


@pytest.mark.parametrize("messages", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_stands_there_has_one_answer(messages: bytes) -> None:
    body = Body(b'{"model":"m"}')
    body._fields = {"messages": msgspec.Raw(messages)}
    first, second = (session_of(exchange_at(FrozenClock()), body, ()) for _ in range(2))
    assert first == second is not None


def test_blanks_between_messages_and_a_text_with_brackets_hide_no_end_of_a_message() -> None:
    question = '{"role": "user", "content": "]}, {\\"role\\": \\"user\\"} [' + "a" * 5000 + '"}'
    bodies = [Body(f'{{"messages": [ \n{question}{more}]}}'.encode()) for more in ("", ' ,\n {"role": "assistant"}')]
    assert len({session_of(exchange_at(FrozenClock()), body, ()) for body in bodies}) == 1


@pytest.mark.parametrize("messages", [[], None])
def test_without_messages_there_is_no_session(messages: Any) -> None:
    exchange = request(messages=messages)
    assert session_of(exchange, exchange.body or Body(b""), SOURCES) is None


def test_no_more_of_a_long_prompt_is_looked_at_than_its_beginning() -> None:
    beginning = "a" * MOST_PREFIX_BYTES
    first, second = ({"role": "user", "content": beginning + end} for end in ("b", "c"))
    assert same(request(messages=[first]), request(messages=[second]))
    tools = [{"description": beginning}]
    assert same(request(tools=tools, messages=[first]), request(tools=tools, messages=[ASKED]))
    least = LEAST_PROMPT_BYTES
    assert not same(*[request(messages=[{"role": "user", "content": "a" * (least - 50)}])] * 2)
    assert same(*[request(messages=[{"role": "user", "content": "a" * least}])] * 2)


def test_a_session_stays_and_requests_without_one_take_turns() -> None:
    balancer, among = affinity(), candidates(1, 1, 1)
    assert len({pick(balancer, among, request(session="s")) for _ in range(20)}) == 1
    assert Counter(pick(balancer, among, request(messages=[ASKED])) for _ in range(9)) == dict.fromkeys(among, 3)


def test_new_sessions_are_spread_by_weight_and_every_process_spreads_them_alike() -> None:
    among, processes = candidates(3, 1, 0), [affinity(), affinity()]
    sessions = [f"session {number}" for number in range(1000)]
    picked = [[pick(balancer, among, request(session=each)) for each in sessions] for balancer in processes]
    assert picked[0] == picked[1]
    counted = Counter(picked[0])
    assert counted[among[2]] == 0
    assert 700 < counted[among[0]] < 800  # of 750, by four deviations


def test_only_sessions_of_a_deployment_that_is_gone_go_elsewhere() -> None:
    among, sessions = candidates(1, 1, 1), [f"session {number}" for number in range(300)]
    before = [pick(affinity(), among, request(session=each)) for each in sessions]
    after = [pick(affinity(), among[1:], request(session=each)) for each in sessions]
    assert all(was is now or was is among[0] for was, now in zip(before, after, strict=True))
    assert {now for was, now in zip(before, after, strict=True) if was is among[0]} == set(among[1:])


@pytest.mark.parametrize("strategy", ["simple-shuffle", "least-busy"])
def test_a_session_that_had_to_go_elsewhere_stays_there_for_its_seconds_after_the_last_use(strategy: Strategy) -> None:
    clock, among, balancer = FrozenClock(), candidates(1, 1, 1), affinity(strategy, 300)
    home = pick(balancer, among, request(clock, session="s"))
    others = [each for each in among if each is not home]
    elsewhere = pick(balancer, others, request(clock, session="s"))
    for _ in range(5):
        clock.advance(299)
        assert pick(balancer, among, request(clock, session="s")) is elsewhere
    clock.advance(301)
    if strategy == "simple-shuffle":
        assert pick(balancer, among, request(clock, session="s")) is home
    else:
        elsewhere.health.running = 1
        assert pick(balancer, among, request(clock, session="s")) is not elsewhere


def test_a_least_busy_session_begins_at_the_least_busy() -> None:
    among, balancer = candidates(1, 1, 1, running=[3, 2, 4]), affinity("least-busy")
    assert {pick(balancer, among, request(session=str(number))) for number in range(5)} == {among[1]}
    among[1].health.running = 3
    assert pick(balancer, among, request(session="0")) is among[1]


def test_a_request_that_finds_its_deployment_full_goes_elsewhere_alone() -> None:
    among, balancer = candidates(1, 1), affinity()
    home = pick(balancer, among, request(session="s"))
    home.health.running = 4
    assert pick(balancer, among, request(session="s")) is not home
    home.health.running = 0
    assert pick(balancer, among, request(session="s")) is home


@given(
    shares=st.lists(st.floats(0.1, 10), min_size=2, max_size=5),
    arrivals=st.lists(st.tuples(st.sampled_from("aab"), st.integers(0, 3)), max_size=60),
)
def test_nobody_runs_more_than_its_bounded_share(shares: list[float], arrivals: list[tuple[str, int]]) -> None:
    among, balancer, running = candidates(*shares), affinity(), list[Candidate]()
    for session, ended in arrivals:
        for _ in range(min(ended, len(running))):
            running.pop(0).health.running -= 1
        picked = pick(balancer, among, request(session=session))
        whole = len(running) + 1
        assert picked.health.running < math.ceil(MOST_LOAD * whole * picked.settings.weight / sum(shares) + 1e-9)
        picked.health.running += 1
        running.append(picked)


@given(loads=st.lists(st.tuples(st.floats(0, 10), st.integers(0, 40)), min_size=1, max_size=6))
def test_there_is_always_room_somewhere(loads: list[tuple[float, int]]) -> None:
    among = candidates(*[weight for weight, _ in loads], running=[running for _, running in loads])
    assert with_room(among)


def test_the_cheapest_comes_before_the_cache() -> None:
    def priced(*prices: float) -> list[Candidate]:
        return [
            Candidate(Deployment("m", f"openai/{number}", prices=lambda _, price=price: price), Scripted(VirtualTime()))
            for number, price in enumerate(map(_price, prices))
        ]

    among, balancer = priced(2, 1, 1), affinity("cost-based-routing")
    assert {pick(balancer, among, request(session=str(number))) for number in range(20)} == set(among[1:])
    assert len({pick(balancer, among, request(session="s")) for _ in range(5)}) == 1


def _price(dollars: float) -> Any:
    from crplugins.core.usage import Price

    return Price(round(dollars * 1_000_000), round(dollars * 1_000_000))


def test_sessions_beyond_those_that_are_remembered_go_by_their_hash() -> None:
    among, balancer = candidates(1, 1), affinity()
    home = pick(balancer, among, request(session="s"))
    others = [each for each in among if each is not home]
    elsewhere = pick(balancer, others, request(session="s"))
    exchange = request(messages=[ASKED])
    for number in range(MOST_SESSIONS - 1):
        exchange.headers = [(b"x-session-id", str(number).encode())]
        pick(balancer, among, exchange)
    assert pick(balancer, among, request(session="s")) is elsewhere
    for number in range(MOST_SESSIONS):
        exchange.headers = [(b"x-session-id", str(number).encode())]
        pick(balancer, among, exchange)
    assert pick(balancer, among, request(session="s")) is home
