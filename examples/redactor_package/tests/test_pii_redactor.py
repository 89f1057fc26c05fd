"""What every plugin must keep, and what this one is for."""

import json
from typing import Any

import pytest
from pii_redactor import PiiRedactor

from crplugins import Plugin, PluginMiddleware
from crplugins.testing import Answer, PluginContract, drive

TEXT = (
    "Write to ann.b+c@mail.example.com or call +49 (30) 1234-5678, card 4111 1111 1111 1111, "
    "account DE89 3704 0044 0532 0130 00. The order 4111 1111 1111 1112 of 3 apples is no card."
)
SHOWN = (
    "Write to [email] or call [phone], card [card], account [iban]. "
    "The order 4111 1111 1111 1112 of 3 apples is no card."
)


class TestContract(PluginContract):
    def make_plugin(self) -> Plugin:
        return PiiRedactor()


class TestOnlyPrompts(PluginContract):
    def make_plugin(self) -> Plugin:
        return PiiRedactor(answers=False)


class Model:
    """An app that says `pieces`, one in each event, of each of two choices; and keeps what it was asked."""

    def __init__(self, *pieces: str, breaks: bool = False) -> None:
        self.asked: dict[str, Any] = {}
        self._pieces, self._breaks = pieces, breaks

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        self.asked = json.loads((await receive())["body"])
        kind = b"text/event-stream" if self.asked.get("stream") else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": self._body().encode()})

    def _body(self) -> str:
        if not self.asked.get("stream"):
            message = {"role": "assistant", "content": "".join(self._pieces)}
            return json.dumps({"choices": [{"index": i, "message": message, "finish_reason": "stop"} for i in (0, 1)]})
        choices = [[{"index": i, "delta": {"content": piece}} for i in (0, 1)] for piece in self._pieces]
        end = [] if self._breaks else [[{"index": i, "delta": {}, "finish_reason": "stop"}] for i in (0, 1)]
        events = [json.dumps({"choices": each}) for each in [*choices, *end]] + ["[DONE]"] * (not self._breaks)
        return "".join(f"data: {event}\n\n" for event in events)


async def ask(model: Model, plugin: Plugin, **body: Any) -> Answer:
    return await drive(PluginMiddleware(model, plugins=[plugin]), body={"model": "m", "messages": [], **body})


def texts(answer: Answer) -> list[str]:
    found = ["", ""]
    for event in answer.events():
        for choice in event.get("choices", ()):
            found[choice["index"]] += choice["delta"].get("content") or ""
    return found


async def test_a_plain_answer_is_redacted_in_every_choice() -> None:
    answer = await ask(Model(TEXT), PiiRedactor())
    assert [choice["message"]["content"] for choice in answer.json()["choices"]] == [SHOWN, SHOWN]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 20, 50])
async def test_a_stream_is_redacted_wherever_it_is_cut(size: int) -> None:
    pieces = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
    answer = await ask(Model(*pieces), PiiRedactor(), stream=True)
    assert texts(answer) == [SHOWN, SHOWN]
    assert answer.done


async def test_a_stream_that_breaks_leaks_nothing_and_loses_nothing() -> None:
    answer = await ask(Model("Ask ann@exam", "ple.com", breaks=True), PiiRedactor(), stream=True)
    assert texts(answer) == ["Ask [email]", "Ask [email]"]
    assert b"ann@" not in answer.body
    assert "error" in answer.events()[-1]


async def test_a_text_is_not_held_longer_than_it_may_become_something() -> None:
    answer = await ask(Model("This is an ordinary ", "sentence. "), PiiRedactor(), stream=True)
    first = answer.events()[0]["choices"][0]["delta"]["content"]
    assert first == "This is an ordinary "


async def test_a_prompt_is_redacted_and_the_rest_of_it_stays() -> None:
    model, image = Model("ok"), {"type": "image_url", "image_url": {"url": "data:image/png;base64,YUBiLmNk"}}
    messages = [
        {"role": "system", "content": "Be kind.", "name": "ann@example.com"},
        {"role": "user", "content": [{"type": "text", "text": TEXT}, image]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": TEXT},
    ]
    await ask(model, PiiRedactor(), messages=messages, user="ann@example.com")
    sent = model.asked["messages"]
    assert (sent[0], sent[2]) == (messages[0], messages[2])
    assert sent[1]["content"] == [{"type": "text", "text": SHOWN}, image]
    assert (sent[3]["content"], model.asked["user"]) == (SHOWN, "ann@example.com")


async def test_what_is_looked_for_is_an_option() -> None:
    model = Model(TEXT)
    answer = await ask(model, PiiRedactor(kinds=["email"], prompts=False), messages=[{"role": "user", "content": TEXT}])
    assert answer.json()["choices"][0]["message"]["content"] == TEXT.replace("ann.b+c@mail.example.com", "[email]")
    assert model.asked["messages"][0]["content"] == TEXT


def test_a_long_text_is_searched_in_linear_time() -> None:
    redactor = PiiRedactor()
    for text in ("a" * 200_000, "1 " * 100_000, "a@" * 100_000, "+1" * 100_000, "DE89 " * 40_000):
        assert isinstance(redactor.redacted(text), str)
        assert sum(map(len, redactor._settled(text, last=False))) > 0
