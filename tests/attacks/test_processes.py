"""A default for one process, used with several: gateways over one store let through what one would.

What `crplugins serve --workers` does with a store in memory is shown with real processes in
`tests/cli/test_serve_metering.py`, and what processes do with a store alone in `tests/limits/`.
"""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from crplugins import Gateway
from tests.attacks.house import Asked, RawProvider, completion, http, question, response, send_at_once
from tests.homes.matrix.stage import Stage
from tests.redis_setup import RedisServer, redis_process  # noqa: F401  # fixture

PROCESSES, AT_ONCE = 3, 24
SECRET = "sk-{}-0123456789abcdef"
USD = 1e-6  # of a token


class Limited(NamedTuple):
    """`key` is its entry in the file; `body` and `lines` are of each of its requests, of which `passes` pass."""

    key: dict[str, Any]
    passes: int
    body: Mapping[str, Any] = MappingProxyType({})
    lines: bytes = b""


LIMITED = {
    "requests": Limited({"limits": {"requests_per_day": 7}}, 7),
    "burst": Limited({"limits": {"requests_per_day": 1000, "burst": {"requests_per_day": 4}}}, 4),
    "team": Limited({"team": "search"}, 5),
    "model": Limited({}, 6, {"model": "few"}),
    "user": Limited({}, 3, {"user": "ann"}),
    "session": Limited({}, 4, lines=b"x-session-id: run-1\r\n"),
    "tokens": Limited({"limits": {"tokens_per_day": 1000}}, 3, {"max_tokens": 300}),
    "output": Limited({"limits": {"output_tokens_per_day": 1000}}, 3, {"max_tokens": 300}),
    "budget": Limited({"budget": {"usd": 1000 * USD, "period": "month"}}, 3, {"max_tokens": 300}),
    "user-budget": Limited({}, 2, {"user": "ben", "max_tokens": 300}),
    "session-budget": Limited({}, 1, {"max_tokens": 300}, b"x-session-id: run-2\r\n"),
}


def as_long_as_asked(asked: Asked) -> bytes:
    """An answer that takes what was reserved for it, so that nothing is given back."""
    length = json.loads(asked.body)["max_tokens"]
    return response(completion(usage={"prompt_tokens": 9, "completion_tokens": length, "total_tokens": 9 + length}))


def gateway(provider: RawProvider, store: str) -> Gateway:
    upstream = {"model": "openai/served", "api_base": provider.base_url, "api_key": "sk-upstream-0123456789"}
    prices = {"input_cost_per_token": USD, "output_cost_per_token": USD}
    return Gateway(
        model_list=[
            {"model_name": name, "litellm_params": upstream, "model_info": prices, "handler": "direct"} for name in ("m", "few")
        ],
        keys=[{"id": name, "secret": SECRET.format(name), **limited.key} for name, limited in LIMITED.items()],
        limits={
            "store": store,
            "per_team": {"search": {"requests_per_day": 5}},
            "per_model": {"few": {"requests_per_day": 6}},
            "per_user": {"requests_per_day": 3},
            "per_session": {"requests": 4},
            "identity": {"missing_user": "ignore", "missing_session": "ignore"},
        },
        budgets={"per_user": {"usd": 700 * USD, "period": "month"}, "per_session": {"usd": 500 * USD}},
    )  # fmt: skip


class Processes:
    """Gateways over one store, as several processes are."""

    def __init__(self, stage: Stage, store: str) -> None:
        self._stage, self._store = stage, store
        self.provider = stage.enter(RawProvider(as_long_as_asked))
        self.ports = [self.start() for _ in range(PROCESSES)]

    def start(self) -> int:
        """The port of one more."""
        return int(self._stage.serve(gateway(self.provider, self._store)).rpartition(":")[2])


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    if request.param == "sqlite":
        store = f"sqlite:///{tmp_path_factory.mktemp('store')}/limits.db"
    else:
        server: RedisServer = request.getfixturevalue("redis_process")
        server.command("FLUSHALL")
        store = server.url
    with Stage() as stage:
        yield Processes(stage, store)


def requests(name: str, count: int) -> list[bytes]:
    _, _, body, lines = LIMITED[name]
    return [http(body=question(**{"max_tokens": 10, **body}), headers=lines, key=SECRET.format(name))] * count


@pytest.mark.parametrize("name", LIMITED)
def test_several_processes_let_through_what_one_would(processes: Processes, name: str) -> None:
    asked = len(processes.provider.asked)
    answers = send_at_once(processes.ports, requests(name, AT_ONCE))
    assert {answer.status for answer in answers} <= {200, 429, 403}
    passed = [answer.status for answer in answers].count(200)
    assert passed == len(processes.provider.asked) - asked == LIMITED[name].passes

    [after] = send_at_once([processes.start()], requests(name, 1))
    assert after.status in {429, 403}, "a process that has just started knows what the others have used"
