"""Plays every case of the table at once against one gateway on real sockets, and judges each by four books.

What the client saw, what the provider did, the ledger's row and the counters of Prometheus must tell the same story.
"""

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import ReceivedRequest
from tests.conftest import serving
from tests.failover.scenarios import ALONE, COMMON, WHOLE_ANSWER, Case, Form, Scenario
from tests.failover.wall import WORDS, Conduct, Wall, beginning_in, words
from tests.integration.metering_books import Row, Scraped, read_table
from tests.integration.metering_setup import PATH
from tests.ports import free_port

KEY: Final = "sk-failover-0123456789abcdef"
PRICES: Final[Mapping[str, Mapping[str, float]]] = {
    "first": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
    "second": {"input_cost_per_token": 5e-6, "output_cost_per_token": 11e-6},
}
"""Whole micro-USD for each token, so that nothing is rounded."""

AT_ONCE: Final = 20
_ASK: Final = [{"role": "user", "content": "Say thirty words, please."}]
_TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "country": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city", "country", "days"],
            },
        },
    }
]


@dataclass
class Seen:
    """What a client read, as a strict one reads it."""

    marker: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False
    seconds: float = 0.0
    left: bool = False

    @property
    def stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def frames(self) -> list[bytes]:
        """The data of each event; comments are none."""
        events = re.split(rb"\r?\n\r?\n", self.body)
        assert events[-1] == b"", f"the last event is not whole: {self.body[-200:]!r}"
        return [event.removeprefix(b"data: ") for event in events[:-1] if not event.startswith(b":")]

    @property
    def documents(self) -> list[Any]:
        return [json.loads(data) for data in self.frames if data != b"[DONE]"] if self.stream else [self.document]

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Mapping[str, Any] | None:
        return next((one["error"] for one in self.documents if one.get("error")), None)

    @property
    def choices(self) -> list[Any]:
        return [choice for one in self.documents for choice in one.get("choices") or ()]

    @property
    def parts(self) -> list[Any]:
        return [choice.get("delta") or choice.get("message") or {} for choice in self.choices]

    @property
    def texts(self) -> list[str]:
        """Of each choice."""
        found: dict[int, str] = {}
        for choice, part in zip(self.choices, self.parts, strict=True):
            found[choice["index"]] = found.get(choice["index"], "") + (part.get("content") or "")
        return [found[index] for index in sorted(found)]

    @property
    def finishes(self) -> list[str]:
        return [choice["finish_reason"] for choice in self.choices if choice.get("finish_reason")]

    @property
    def usages(self) -> list[tuple[int, int]]:
        told = [one["usage"] for one in self.documents if one.get("usage")]
        return [(usage["prompt_tokens"], usage["completion_tokens"]) for usage in told]

    @property
    def calls(self) -> dict[int, dict[str, str]]:
        """Tool calls put together as OpenAI's SDK does, by index."""
        found: dict[int, dict[str, str]] = {}
        for part in self.parts:
            for index, piece in enumerate(part.get("tool_calls") or ()):
                call = found.setdefault(piece.get("index", index), {"id": "", "name": "", "arguments": ""})
                call["id"] += piece.get("id") or ""
                for name in ("name", "arguments"):
                    call[name] += (piece.get("function") or {}).get(name) or ""
        return found


@dataclass
class Played:
    """One case, when all is over. `alone` are the rows of each deployment asked alone, where its worth is estimated."""

    case: Case
    seen: Seen
    calls: Sequence[ReceivedRequest]
    arrivals: Sequence[float]
    rows: Sequence[Row]
    alone: Mapping[str, Row]


class Stage:
    """The cases with one handler. `played` by their names."""

    def __init__(self, handler: str, cases: Sequence[Case]) -> None:
        self.handler = handler
        self.cases = cases
        self.played: dict[str, Played] = {}
        self.scraped = Scraped("")
        self.rows: Sequence[Row] = ()
        self.wall = Wall()
        self._seen: dict[str, Seen] = {}

    async def live(self, folder: Path) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.wall)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
            app = Gateway(
                model_list=self._models(),
                **self._fallbacks(),
                keys=[{"id": "k", "secret": KEY}],
                ledger={"url": f"sqlite:///{folder}/usage.db", "commit_seconds": 0},
                metrics={"token": None},
            )
            url = await stack.enter_async_context(serving(app))
            await self._warm(session, url)
            await self._play_all(session, url)
            await self.wall.wait_idle()
            self.scraped = await self._settled(session, url)
        self.rows = read_table(folder / "usage.db", "usage")
        self._sort()

    def loose_ends(self) -> list[str]:
        """What is not settled at the end; nothing where all is."""
        gauges = "requests_in_flight", "ledger_dropped_records_total", "ledger_spooled_records", "hook_errors_total"
        left = [name for name in gauges if self.scraped.total(f"crplugins_{name}")]
        counted = self.scraped.total("crplugins_requests_total")
        return [*left, *([] if counted == len(self.rows) else [f"{counted} requests, {len(self.rows)} records"])]

    def sums(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Tokens in and out and micro-USD of all requests, in the ledger and in the counters."""
        names = ("input_tokens", "output_tokens", "cost_micro_usd")
        recorded = tuple(sum(row[name] for row in self.rows) for name in names)
        tokens = tuple(round(self.scraped.total(f"crplugins_{name}_total")) for name in names[:2])
        return recorded, (*tokens, round(self.scraped.total("crplugins_cost_usd_total") * 1e6))

    def _models(self) -> list[Any]:
        entries = [self._entry("warm", "warm", "first", {})]
        for case in self.cases:
            scenario = case.scenario
            conducts = {
                "first": Conduct("A", scenario.faults(case.form)),
                "second": Conduct("B", scenario.second, scenario.second_takes_prefix),
            }
            held = (
                {"hold_seconds": 120} if case.on_break == "restart" else {}
            )  # all are played at once, on busy machines
            common = {**COMMON, **scenario.settings}
            waits = scenario.given_up and case.form == "plain"
            given_up = {"first": WHOLE_ANSWER if waits else scenario.given_up, "second": {}}
            for which, conduct in conducts.items():
                self.wall.conducts[case.model(which)] = conduct
                named = f"{case.name}.other" if which == "second" and scenario.fallback else case.name
                down = scenario.unreachable and which == "first"
                settings = {**common, **given_up[which], "on_break": case.on_break, **held}
                entries.append(self._entry(named, case.model(which), which, settings, down=down))
                if (alone := case.alone.get(which)) is not None and alone not in self.wall.conducts:
                    self.wall.conducts[alone] = conduct
                    own = {"num_retries": 0, **common, **given_up[which], **(ALONE if waits else {})}
                    entries.append(self._entry(alone, alone, which, own))
        return entries

    def _entry(
        self, name: str, model: str, which: str, settings: Mapping[str, Any], *, down: bool = False
    ) -> dict[str, Any]:
        base = f"http://127.0.0.1:{free_port()}/v1" if down else self.wall.base_url
        params = {"model": f"openai/{model}", "api_base": base, "api_key": "sk-upstream-9876543210"}
        # The settings may stand in either place.
        beside, inside = (settings, {}) if len(name) % 2 else ({}, settings)
        return {
            "model_name": name,
            "litellm_params": {**params, "order": 1 if which == "first" else 2, **inside},
            "model_info": {**PRICES[which], "supports_assistant_prefill": True},
            "handler": self.handler,
            **beside,
        }

    def _fallbacks(self) -> dict[str, Any]:
        found: dict[str, list[Any]] = {}
        for case in self.cases:
            if kind := case.scenario.fallback:
                other = f"{case.name}.other"  # two names may fall back to each other
                found.setdefault(kind, []).extend([{case.name: [other]}, {other: [case.name]}])
        return found

    async def _warm(self, session: aiohttp.ClientSession, url: str) -> None:
        """litellm is loaded while the gateway listens, and each handler learns from its first answers."""
        for form in ("plain", "stream", "plain", "stream"):
            await self._ask(session, url, Seen("warm"), "warm", form)

    async def _play_all(self, session: aiohttp.ClientSession, url: str) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def play(case: Case, model: str, *, leaves: bool = False) -> None:
            async with turns:
                seen = self._seen[model] = Seen(model)
                asking = self._ask(session, url, seen, model, case.form, case.scenario)
                if leaves:
                    await self._left(asking, seen)
                else:
                    async with asyncio.timeout(300):
                        await asking

        async with asyncio.TaskGroup() as clients:
            for case in self.cases:
                clients.create_task(play(case, case.name, leaves=case.scenario.leaves))
            alone = {model: case for case in self.cases for model in case.alone.values()}
            for model, case in alone.items():
                clients.create_task(play(case, model))

    async def _left(self, asking: Any, seen: Seen) -> None:
        """The client goes as soon as the second deployment has its call."""
        task = asyncio.create_task(asking)
        async with asyncio.timeout(120):
            while len(self.wall.calls(seen.marker)) < 2 and not task.done():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        seen.left = not task.done()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        url: str,
        seen: Seen,
        model: str,
        form: Form,
        scenario: Scenario | None = None,
    ) -> None:
        body: dict[str, Any] = {"model": model, "messages": _ASK, "user": seen.marker}
        if scenario is not None:
            body |= {**scenario.more, **({"tools": _TOOLS, "tool_choice": "required"} if scenario.tools else {})}
        if form == "stream":
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        begun = time.monotonic()
        async with session.post(url + PATH, json=body, headers={"authorization": f"Bearer {KEY}"}) as response:
            seen.status = response.status
            seen.headers = {name.lower(): value for name, value in response.headers.items()}
            async for piece in response.content.iter_any():
                seen.body += piece
        seen.complete, seen.seconds = True, time.monotonic() - begun

    async def _settled(self, session: aiohttp.ClientSession, url: str) -> Scraped:
        until = time.monotonic() + 120
        while True:
            async with session.get(url + "/metrics") as response:
                scraped = Scraped(await response.text())
            if not scraped.total("crplugins_requests_in_flight") or time.monotonic() > until:
                return scraped
            await asyncio.sleep(0.05)

    def _sort(self) -> None:
        rows: dict[str, list[Row]] = {}
        for row in self.rows:
            rows.setdefault(row["user"], []).append(row)
        for case in self.cases:
            calls = self.wall.calls(case.name)
            alone = {which: rows[model][0] for which, model in case.alone.items()}
            arrivals = [self.wall.arrived[one.number] for one in calls if one.model == case.model("first")]
            self.played[case.name] = Played(
                case, self._seen[case.name], calls, arrivals, rows.get(case.name, []), alone
            )


def complaints(played: Played, scraped: Scraped) -> list[str]:
    """What is not as the table says; nothing where all is well."""
    return [*_of_the_client(played), *_of_the_calls(played), *_of_the_books(played, scraped)]


def _of_the_client(played: Played) -> list[str]:
    case, seen = played.case, played.seen
    end, wrong = case.end, []
    if end.sees == "left":
        return [] if seen.left else ["the answer was over before the client could leave"]
    if not seen.complete:
        return ["the answer never came to its end"]
    if seen.status != end.status:
        return [f"status {seen.status} in place of {end.status}: {seen.body[:300]!r}"]
    error = seen.error
    if end.sees == "refused":
        if end.code is not None and (error or {}).get("code") != end.code:
            wrong.append(f"refused with {error}")
        return wrong
    if (error is not None) != (end.sees == "broken"):
        wrong.append(f"error {error}")
    wrong += _of_the_text(played)
    finish = "tool_calls" if end.sees == "tool" else "stop"
    if end.sees != "broken" and seen.finishes != [finish] * case.scenario.more.get("n", 1):
        wrong.append(f"finish reasons {seen.finishes}")
    if seen.stream:
        wrong += _of_the_stream(seen)
    models = {one.get("model") for one in seen.documents if "error" not in one}
    if models - {case.name}:
        wrong.append(f"models {models}")
    return wrong


def _of_the_text(played: Played) -> list[str]:
    seen, sees = played.seen, played.case.end.sees
    if sees == "tool":
        calls = list(seen.calls.values())
        try:
            whole = [set(json.loads(call["arguments"])) == {"city", "country", "days"} for call in calls] == [True]
        except ValueError:
            whole = False
        fine = whole and calls[0]["name"] == "look_up" and re.fullmatch(r"call_[0-9a-f]{24}", calls[0]["id"])
        return [] if fine else [f"tool calls {calls}"]
    texts = seen.texts
    if sees == "broken":
        fine = all(words("A").startswith(text) or words("B").startswith(text) or _joint(text) for text in texts)
    elif sees == "joint":
        fine = len(texts) == 1 and _joint(texts[0]) and len(texts[0].split()) == WORDS
    else:
        fine = texts == [words("A" if sees == "first" else "B")] * played.case.scenario.more.get("n", 1)
    return [] if fine else [f"texts {texts}"]


def _joint(text: str) -> bool:
    """The first's words and behind them the second's, each number once and in its order."""
    return bool(re.fullmatch(r"(?:A\d\d)?(?: A\d\d)*(?: B\d\d)*", text)) and [
        int(word[1:]) for word in text.split()
    ] == list(range(1, len(text.split()) + 1))


def _of_the_stream(seen: Seen) -> list[str]:
    wrong = []
    if seen.frames.count(b"[DONE]") != 1 or seen.frames[-1] != b"[DONE]":
        wrong.append(f"[DONE] stands at {[n for n, data in enumerate(seen.frames) if data == b'[DONE]']}")
    roles = [part["role"] for part in seen.parts if part.get("role")]
    if roles != ["assistant"] * len(seen.texts):
        wrong.append(f"roles {roles}")
    ids = {one["id"] for one in seen.documents if one.get("id")}
    if len(ids) != bool(seen.choices):
        wrong.append(f"ids {ids}")
    return wrong


def _of_the_calls(played: Played) -> list[str]:
    case, wrong = played.case, []
    made = tuple(sum(call.model == case.model(which) for call in played.calls) for which in ("first", "second"))
    if made not in case.end.calls:
        wrong.append(f"calls {made}")
    if case.scenario.pauses and len(played.arrivals) > 1:
        pause = played.arrivals[1] - played.arrivals[0]
        if not case.scenario.pauses <= pause < case.scenario.pauses + 30:
            wrong.append(f"a pause of {pause:.3f} s")
    return wrong


def _of_the_books(played: Played, scraped: Scraped) -> list[str]:
    case, seen, wrong = played.case, played.seen, []
    if len(played.rows) != 1:
        return [f"{len(played.rows)} records"]
    row = played.rows[0]
    in_vain = range(1, 3) if case.scenario.unreachable else range(1)  # of those that never arrived
    if row["attempts"] - len(played.calls) not in in_vain:
        wrong.append(f"{row['attempts']} attempts in the record, {len(played.calls)} arrived")
    served, first = case.model(case.end.served), [call for call in played.calls if call.model == case.model("first")]
    if case.end.sees != "refused" and row["served_model"] != served:
        wrong.append(f"served by {row['served_model']}")
    # It stands before the answer, so where a stream was rescued it names who had begun.
    begun_by_other = case.scenario.fallback and case.end.served == "second" and not any(_said(call) for call in first)
    named = f"{case.name}.other" if begun_by_other else case.name
    if seen.status == 200 and seen.headers.get("x-crplugins-model") != named:
        wrong.append(f"x-crplugins-model: {seen.headers.get('x-crplugins-model')}")
    recorded = (row["input_tokens"], row["output_tokens"], row["cost_micro_usd"])
    if case.end.sees == "left":
        wrong += _of_a_departure(played, recorded)
    else:
        worth = [_worth(played, call) for call in played.calls]
        expected = tuple(sum(numbers) for numbers in zip((0, 0, 0), *worth, strict=True))
        if recorded != expected and not case.scenario.drips:
            wrong.append(f"recorded {recorded}, worth {expected} of {worth}")
        untold = played.calls[-1].usage is None  # then nothing need be said of it
        is_told = case.end.sees not in ("broken", "refused") and not (untold and not seen.usages)
        if is_told and seen.usages != [recorded[:2]]:
            wrong.append(f"the client was told {seen.usages}, the record has {recorded[:2]}")
    counted = tuple(
        round(scraped.by(f"crplugins_{name}_total", "model")[case.name,] * factor)
        for name, factor in (("input_tokens", 1), ("output_tokens", 1), ("cost_usd", 1e6))
    )
    if counted != recorded:
        wrong.append(f"counted {counted}, recorded {recorded}")
    return wrong


def _worth(played: Played, call: ReceivedRequest) -> tuple[int, int, int]:
    """Tokens and micro-USD of one call: by what the provider has told, else what the same is worth alone."""
    which = "first" if call.model == played.case.model("first") else "second"
    if call.usage is not None:
        prompt, completion = call.usage
        return (*call.usage, round(1e6 * _cost(which, prompt, completion)))
    if which in played.alone and played.alone[which]["input_tokens"] and call.frames_sent:
        row, prefix = played.alone[which], len((beginning_in(call.json) or "").split())  # a token for each word
        cost = row["cost_micro_usd"] + round(1e6 * _cost(which, prefix, 0))
        return row["input_tokens"] + prefix, row["output_tokens"], cost
    return 0, 0, 0


def _said(call: ReceivedRequest) -> bool:
    """More than a role, or a refusal, which is one frame."""
    return call.frames_sent > 1


def _cost(which: str, prompt: int, completion: int) -> float:
    prices = PRICES[which]
    return prompt * prices["input_cost_per_token"] + completion * prices["output_cost_per_token"]


def _of_a_departure(played: Played, recorded: tuple[int, int, int]) -> list[str]:
    """What the first has said is paid for, and the prompt of the second; who had been asked is told to stop."""
    row, first = played.rows[0], played.alone["first"]
    wrong = []
    if (row["outcome"], row["error_type"]) != ("cancelled", "client_disconnected"):
        wrong.append(f"ended as {row['outcome']}, {row['error_type']}")
    least = (2 * first["input_tokens"], first["output_tokens"])
    price = PRICES["second"]["input_cost_per_token"] * 1e6
    if recorded[0] < least[0] or recorded[1] < least[1] or recorded[2] < first["cost_micro_usd"] + price:
        wrong.append(f"recorded {recorded}, at least {least}")
    if not all(call.client_gone for call in played.calls):
        wrong.append("a provider still worked for a client that had left")
    return wrong
