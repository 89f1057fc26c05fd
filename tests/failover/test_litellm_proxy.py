"""The same troubles in LiteLLM's proxy, where its router does the failover: our books are exact all the same.

What the client is shown is LiteLLM's affair, but that it is whole or says that it is not. What was called, how many
tokens it took and what they cost is ours.
"""

import asyncio
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from crplugins.testing import ReceivedRequest
from tests.failover.scenarios import SCENARIOS, Scenario
from tests.failover.wall import Conduct, Wall, words
from tests.long import LONG
from tests.proxy_setup import CALLBACK, ENTRY, needs_proxy, running_proxy

pytestmark = [pytest.mark.slow, needs_proxy]

_INVENTS_ENDS: Final = "received_any_finish_reason" not in inspect.getsource(
    pytest.importorskip("litellm.litellm_core_utils.streaming_handler")
)
"""Older releases end a stream that was cut with a `stop` of their own, which nobody behind them can tell from the
provider's."""

KEY: Final = "sk-failover-0123456789abcdef"
OURS: Final[Mapping[str, Any]] = {"keys": [{"id": "k", "secret": KEY}]}
_ASK: Final = [{"role": "user", "content": "Say thirty words, please."}]

NAMES: Final = (
    "limited-always", "failed-once", "overloaded-always", "both-overloaded", "connection-reset", "our-key-refused",
    "invalid-request", "silent", "cut", "stall-in-the-middle", "error-after-200", "error-in-the-middle",
    "one-malformed-chunk", "no-done", "cut-after-finish", "done-twice", "context-length", "content-filter",
)  # fmt: skip
CHOSEN: Final = {scenario.name: scenario for scenario in SCENARIOS if scenario.name in NAMES}


@dataclass
class Played:
    """What the client read, what the provider was asked, and the one record of it."""

    status: int
    body: bytes
    calls: list[ReceivedRequest]
    record: Mapping[str, Any]

    @property
    def text(self) -> str:
        if not self.body.startswith(b"data:"):
            return str(json.loads(self.body)["choices"][0]["message"]["content"])
        chunks = [json.loads(line[6:]) for line in self.body.split(b"\n") if line.startswith(b"data: {")]
        return "".join(
            choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices") or ()
        )


@pytest.fixture(scope="module", params=["callback", "entry"] if LONG else ["callback"])
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Played]:
    served = {
        f"{name}.{form}": [
            {"model": f"openai/{name}.{form}.{which}", "timeout": 1.5, "stream_timeout": 1.5, "order": order}
            for order, which in enumerate(("first", "second"), 1)
        ]
        for name in CHOSEN
        for form in ("stream", "plain")
    }
    app = CALLBACK if request.param == "callback" else ENTRY
    with running_proxy(tmp_path_factory.mktemp(request.param), app, ours=OURS, served=served, retries=2) as proxy:
        return asyncio.run(live(proxy))


async def live(proxy: Any) -> Mapping[str, Played]:
    async with Wall(port=proxy.provider_port) as wall, httpx.AsyncClient(timeout=60) as client:
        for name, scenario in CHOSEN.items():
            for form in ("stream", "plain"):
                wall.conducts[f"{name}.{form}.first"] = Conduct("A", scenario.faults(form))
                wall.conducts[f"{name}.{form}.second"] = Conduct("B", scenario.second)
        turns = asyncio.Semaphore(6)

        async def play(name: str, form: str) -> tuple[str, Played]:
            marker = f"{name}.{form}"
            body: dict[str, Any] = {"model": marker, "messages": _ASK, "user": marker}
            if form == "stream":
                body |= {"stream": True, "stream_options": {"include_usage": True}}
            async with turns:
                answer = await client.post(
                    f"{proxy.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"}
                )
                record = await proxy.record(answer.headers["x-request-id"])
            return marker, Played(answer.status_code, answer.content, _calls(wall, marker), record)

        played = await asyncio.gather(
            *(play(name, form) for name, one in CHOSEN.items() for form in ("stream", "plain") if _exists(one, form))
        )
    return dict(played)


def _calls(wall: Wall, marker: str) -> list[ReceivedRequest]:
    """By the models, which belong to one request each: LiteLLM drops `user` for some."""
    return [one for one in wall.requests if (one.model or "").startswith(f"{marker}.")]


def _exists(scenario: Scenario, form: str) -> bool:
    return form == "stream" or scenario.plain_end is not None


@pytest.mark.parametrize("form", ["stream", "plain"])
@pytest.mark.parametrize("name", NAMES)
def test_the_books_have_every_call_and_its_worth(day: Mapping[str, Played], name: str, form: str) -> None:
    if not _exists(CHOSEN[name], form):
        pytest.skip("there is no such plain answer")
    played = day[f"{name}.{form}"]
    record, told = played.record, [call.usage for call in played.calls if call.usage is not None]
    assert record["attempts"] == len(played.calls)
    assert record["status"] == played.status
    counted = (record["usage"]["input_tokens"], record["usage"]["output_tokens"])
    if record["usage_source"] == "provider":
        assert counted == tuple(map(sum, zip(*told, strict=True)))
    elif record["usage_source"] == "none":
        assert (told, counted) == ([], (0, 0))
    assert (record["cost_micro_usd"] or 0) == counted[0] + 2 * counted[1]
    if record["outcome"] == "ok" and not (_INVENTS_ENDS and name == "cut"):
        assert played.text in (words("A"), words("B"))
    elif record["outcome"] != "ok":
        assert played.status >= 400 or b'"error"' in played.body


@pytest.mark.parametrize("form", ["stream", "plain"])
@pytest.mark.parametrize("name", ["failed-once", "overloaded-always", "our-key-refused", "silent", "error-after-200"])
def test_what_failed_before_its_first_word_is_answered_all_the_same(
    day: Mapping[str, Played], name: str, form: str
) -> None:
    played = day[f"{name}.{form}"]
    assert (played.status, played.record["outcome"]) == (200, "ok")


def test_several_were_asked_more_than_once(day: Mapping[str, Played]) -> None:
    """Else the tests above prove little."""
    assert len([one for one in day.values() if len(one.calls) > 1]) >= 10
