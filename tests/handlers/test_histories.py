"""A conversation that another model has begun reaches the one that goes on with it in the form that its provider takes."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.handlers.test_spoken import KEY, SECRET

from crplugins import Gateway
from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from crplugins.handlers.histories import fitted
from crplugins.handlers.protocols import CLAUDES, MISTRALS, OPENAIS, OPENAIS_IN_RESPONSES, IdForm
from crplugins.handlers.translation.responses_request import sealed
from crplugins.testing import FakeProvider, Script
from tests.conftest import serving

KIMIS = "functions.Bash:0"
GEMINIS = "call_1__thought__" + "Q" * 300 + "=="
OWN = {OPENAIS: "call_abc", OPENAIS_IN_RESPONSES: "call_" + "a" * 50, CLAUDES: "toolu_01A-b", MISTRALS: "a1B2c3D4e"}
CALL = {"type": "function", "function": {"name": "Bash", "arguments": "{}"}}
HM = {"type": "thinking", "thinking": "Hm", "signature": "unsigned:crplugins"}
SIGNED = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
ASKED = {"role": "user", "content": "List it"}


def chat(call_id: str) -> list[Any]:
    called = {"role": "assistant", "content": None, "tool_calls": [{"id": call_id, **CALL}]}
    return [ASKED, called, {"role": "tool", "tool_call_id": call_id, "content": "a.txt"}]


def messages(call_id: str, *thoughts: Any) -> list[Any]:
    called = {"type": "tool_use", "id": call_id, "name": "Bash", "input": {}}
    result = {"type": "tool_result", "tool_use_id": call_id, "content": "a.txt"}
    return [ASKED, {"role": "assistant", "content": [*thoughts, called]}, {"role": "user", "content": [result]}]


def items(call_id: str, *thoughts: Any) -> list[Any]:
    called = {"type": "function_call", "id": "fc_1", "call_id": call_id, "name": "Bash", "arguments": "{}"}
    return [ASKED, *thoughts, called, {"type": "function_call_output", "call_id": call_id, "output": "a.txt"}]


def sent(dialect: Dialect, ids: IdForm | None, said: list[Any], **more: Any) -> dict[str, Any]:
    member = "input" if dialect is RESPONSES else "messages"
    body = Body(json.dumps({"model": "m", member: said, **more}).encode())
    made: dict[str, Any] = json.loads(fitted(body, dialect, ids).raw)
    return made


def ids_in(value: Any) -> list[str]:
    """Every id of a call, in the order in which they stand."""
    if isinstance(value, list):
        return [each for item in value for each in ids_in(item)]
    if not isinstance(value, dict):
        return []
    is_call = value.get("type") in ("function", "tool_use")
    names = ("tool_call_id", "tool_use_id", "call_id", *(("id",) if is_call else ()))
    return [value[name] for name in names if name in value] + [
        each for inner in value.values() for each in ids_in(inner)
    ]


@pytest.mark.parametrize("foreign", [KIMIS, GEMINIS])
@pytest.mark.parametrize(
    ("dialect", "ids", "said"),
    [
        (CHAT, OPENAIS, chat), (CHAT, CLAUDES, chat), (CHAT, MISTRALS, chat), (MESSAGES, CLAUDES, messages),
        (RESPONSES, OPENAIS_IN_RESPONSES, items),
    ],
)  # fmt: skip
def test_a_call_has_an_id_that_its_provider_takes_and_its_result_the_same(
    dialect: Dialect, ids: IdForm, said: Any, foreign: str
) -> None:
    called, answered = ids_in(sent(dialect, ids, said(foreign)))
    assert called == answered
    assert ids.takes(called)
    assert (called == foreign) is ids.takes(foreign)
    assert ids_in(sent(dialect, ids, said(OWN[ids]))) == [OWN[ids]] * 2
    assert ids_in(sent(dialect, None, said(foreign))) == [foreign] * 2, "who takes any wants his own back"


def test_a_request_that_nothing_is_wrong_with_is_the_same_object() -> None:
    for dialect, said in ((CHAT, chat("call_1")), (MESSAGES, messages("toolu_1", SIGNED)), (RESPONSES, items("c"))):
        body = Body(json.dumps({"messages": said, "input": said}).encode())
        assert fitted(body, dialect, CLAUDES) is body


def test_claude_is_told_no_thought_that_it_has_not_signed() -> None:
    only_thought = {"role": "assistant", "content": [HM]}
    made = sent(MESSAGES, CLAUDES, [ASKED, only_thought, ASKED, *messages("toolu_1", HM, SIGNED)[1:]])["messages"]
    assert [each["role"] for each in made] == ["user", "user", "assistant", "user"]
    assert made[2]["content"][0] == SIGNED
    said = messages("toolu_1", HM)
    assert sent(MESSAGES, None, said)["messages"] == said, "Kimi and DeepSeek want it back"


def test_claude_does_not_think_in_a_turn_that_another_one_has_begun() -> None:
    """It refuses one that does not begin with a thought of its own."""
    edits = [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]
    more = {"thinking": {"type": "enabled", "budget_tokens": 2048}, "context_management": {"edits": edits}}
    for said in (messages("toolu_1", HM), messages(KIMIS)):
        made = sent(MESSAGES, CLAUDES, said, **more)
        assert "thinking" not in made
        assert made["context_management"] == {"edits": edits[1:]}
    for said in ([*messages(KIMIS), ASKED], messages(KIMIS, SIGNED), messages("toolu_1")):
        assert sent(MESSAGES, CLAUDES, said, **more)["thinking"] == more["thinking"]
    assert "thinking" in sent(MESSAGES, CLAUDES, messages(KIMIS), thinking={"type": "adaptive"})


def test_openai_is_told_no_thought_that_it_has_neither_encrypted_nor_kept() -> None:
    theirs = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    told = {"type": "reasoning", "id": "rs_crplugins_1", "summary": [{"type": "summary_text", "text": "Hm"}]}
    hidden = {**told, "id": "rs_2", "encrypted_content": sealed([SIGNED])}
    said = items("call_1", theirs, told, hidden)
    assert sent(RESPONSES, OPENAIS_IN_RESPONSES, said)["input"] == items("call_1", theirs)
    assert sent(RESPONSES, None, said)["input"] == items("call_1", theirs, told, {**told, "id": "rs_2"})


@asynccontextmanager
async def _gateway(models: list[Any]) -> AsyncIterator[httpx.AsyncClient]:
    app = Gateway(model_list=models, keys=[{"id": "a", "secret": SECRET}], num_retries=0)
    async with serving(app) as url, httpx.AsyncClient(base_url=url, headers=KEY) as client:
        yield client


async def test_a_deployment_that_takes_over_is_told_the_history_in_its_own_form() -> None:
    """The one that has failed was told it as it came."""
    async with FakeProvider(default=Script(status=503)) as kimi, FakeProvider() as claude:
        models = [
            {"model_name": "m", "litellm_params": {"model": "openai/kimi-k2", "api_base": kimi.base_url, "order": 1}},
            {
                "model_name": "m", "handler": "direct",
                "litellm_params": {"model": "anthropic/claude-sonnet-4-5", "api_base": claude.base_url, "order": 2},
            },
        ]  # fmt: skip
        async with _gateway(models) as client:
            for path, said in (("/v1/chat/completions", chat(KIMIS)), ("/v1/messages", messages(KIMIS, HM))):
                answer = await client.post(path, json={"model": "m", "messages": said, "max_tokens": 50})
                assert answer.status_code == 200
                assert json.loads(kimi.requests[-1].body)["messages"] == said
                called, answered = ids_in(json.loads(claude.requests[-1].body)["messages"])
                assert called == answered
                assert CLAUDES.takes(called)
            assert "unsigned" not in claude.requests[-1].body.decode()


async def test_thoughts_that_the_gateway_tells_in_responses_are_known_by_their_ids() -> None:
    async with FakeProvider(default=Script(reasoning="Hm", text="Yes")) as provider:
        params = {"model": "openai/deepseek", "api_base": provider.base_url}
        info = {"supported_endpoints": ["/v1/chat/completions"]}
        model = {"model_name": "m", "litellm_params": params, "model_info": info}
        async with _gateway([model]) as client:
            answer = await client.post("/v1/responses", json={"model": "m", "input": "Hi"})
    thought, said = answer.json()["output"]
    back = [{"role": "user", "content": "Hi"}, thought, said, ASKED]
    assert sent(RESPONSES, OPENAIS_IN_RESPONSES, back)["input"] == [back[0], *back[2:]]
