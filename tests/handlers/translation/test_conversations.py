"""In which number and order messages reach an upstream, whatever clients say in a row."""

from typing import Any

import pytest

from crplugins.core.dialects import MESSAGES, RESPONSES, Dialect
from crplugins.handlers.protocols import Target
from crplugins.handlers.translation.translated import TRANSLATIONS

ANY, OPENAI, CLAUDE = Target(), Target(is_openai=True), Target(is_claude=True)
PNG = {"type": "base64", "media_type": "image/png", "data": "AA"}
SHOWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


def messages(target: Target = ANY, *said: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    made = TRANSLATIONS[MESSAGES].request({"model": "m", "max_tokens": 5, "messages": [*said], **fields}, target)
    listed: list[dict[str, Any]] = made["messages"]
    return listed


def responses(target: Target = ANY, *items: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    made = TRANSLATIONS[RESPONSES].request({"model": "m", "input": [*items], **fields}, target)
    listed: list[dict[str, Any]] = made["messages"]
    return listed


def use(number: int) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": "look", "input": {}}


def result(number: int, content: Any = "seen") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": content}


def called(number: int) -> dict[str, Any]:
    return {"type": "function_call", "call_id": f"call_{number}", "name": "look", "arguments": "{}"}


def output(number: int, content: Any = "seen") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"call_{number}", "output": content}


def by(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def roles(made: list[dict[str, Any]]) -> list[str]:
    return [message["role"] for message in made]


WORDS = [
    pytest.param("Plan first.", id="text"),
    pytest.param([{"type": "text", "text": "Plan first."}], id="blocks"),
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("target", [ANY, CLAUDE])
def test_what_claude_code_says_for_the_system_later_stays_in_its_place_and_is_marked(
    words: Any, target: Target
) -> None:
    later = by("system", words)
    made = messages(target, by("user", "Hi"), later, by("assistant", "Yes?"), by("user", "Go"), system="Be brief.")
    assert roles(made) == ["system", "user", "assistant", "user"]
    reminded = "\n\n<system-reminder>\nPlan first.\n</system-reminder>"
    assert made[1]["content"] == [{"type": "text", "text": "Hi"}, {"type": "text", "text": reminded}]


@pytest.mark.parametrize("words", WORDS)
def test_openai_is_told_what_the_system_says_later_as_that(words: Any) -> None:
    made = messages(OPENAI, by("user", "Hi"), by("system", words), system="Be brief.")
    assert made == [by("system", "Be brief."), by("user", "Hi"), by("system", "Plan first.")]


def test_codex_has_one_system_and_one_user_before_a_template_that_takes_no_more() -> None:
    """As it begins: instructions, what the developer allows, the environment, and the prompt."""
    begins = [by("developer", "Never push."), by("user", "# AGENTS.md"), by("user", "Hi"), by("assistant", "Yes?")]
    made = responses(ANY, *begins, by("developer", "Plan mode."), by("user", "Go"), instructions="You are Codex.")
    assert roles(made) == ["system", "user", "assistant", "user"]
    assert [part["text"] for part in made[0]["content"]] == ["You are Codex.", "\n\nNever push."]
    assert [part["text"] for part in made[1]["content"]] == ["# AGENTS.md", "\n\nHi"]
    assert "Plan mode." in made[3]["content"][0]["text"]
    told = responses(OPENAI, *begins, by("developer", "Plan mode."), instructions="You are Codex.")
    assert roles(told) == ["system", "developer", "user", "user", "assistant", "developer"]


@pytest.mark.parametrize("target", [ANY, OPENAI, CLAUDE])
def test_calls_of_answers_in_a_row_are_followed_by_all_of_their_results(target: Target) -> None:
    made = messages(
        target,
        by("assistant", [use(1)]),
        by("assistant", [{"type": "text", "text": "And"}, use(2)]),
        by("user", [result(1, [{"type": "image", "source": PNG}])]),
        by("user", [{"type": "text", "text": "Wait"}]),
        by("user", [result(2)]),
    )
    assert roles(made)[:3] == ["assistant", "tool", "tool"]
    assert [call["id"] for call in made[0]["tool_calls"]] == ["toolu_1", "toolu_2"]
    assert [message["tool_call_id"] for message in made[1:3]] == ["toolu_1", "toolu_2"]
    said = [part for message in made[3:] for part in _parts(message)]
    assert said[0] == SHOWN
    assert said[1]["text"].strip() == "Wait"


@pytest.mark.parametrize("target", [ANY, OPENAI, CLAUDE])
def test_a_picture_that_one_of_parallel_calls_has_given_stands_behind_all_of_their_results(target: Target) -> None:
    picture = [{"type": "input_image", "image_url": "data:image/png;base64,AA"}]
    made = responses(target, by("user", "Look"), called(1), called(2), output(1, picture), output(2), by("user", "So?"))
    assert roles(made)[:4] == ["user", "assistant", "tool", "tool"]
    said = [part for message in made[4:] for part in _parts(message)]
    assert said[0] == SHOWN
    assert said[1]["text"].strip() == "So?"


@pytest.mark.parametrize("target", [ANY, OPENAI, CLAUDE])
@pytest.mark.parametrize("content", ["", [], [{"type": "text", "text": ""}], [{"type": "thinking", "thinking": "Hm"}]])
def test_an_answer_that_says_nothing_is_left_out(target: Target, content: Any) -> None:
    made = messages(target, by("user", "Hi"), by("assistant", content), by("user", "There?"))
    assert roles(made) == (["user", "user"] if target is OPENAI else ["user"])


def test_what_a_tool_at_the_provider_has_done_is_left_out_and_its_answer_stays() -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Oslo"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    text = {"type": "text", "text": "It rains."}
    said = by("assistant", [search, found, text])
    assert messages(ANY, by("user", "Hi"), said, by("user", "And?"))[1] == by("assistant", "It rains.")
    approval = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "get", "arguments": "{}", "server_label": "s"}
    answer = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    assert responses(ANY, by("user", "Hi"), approval, answer, by("assistant", "Done."))[1] == by("assistant", "Done.")


def test_thoughts_that_led_to_no_word_are_no_part_of_the_next_answer() -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}
    made = responses(ANY, by("user", "Hi"), thought, by("user", "There?"), by("assistant", "Yes."))
    assert made[-1] == by("assistant", "Yes.")


@pytest.mark.parametrize("length", [40, 41, 3000])
def test_a_call_whose_id_is_too_long_for_openai_is_known_by_another(length: int) -> None:
    """Gemini's signature of a thought stands in an id, and the conversation may go on with OpenAI."""
    long = "call_" + "x" * (length - 5)
    said = by("assistant", [{**use(1), "id": long}]), by("user", [{**result(1), "tool_use_id": long}])
    call, answered = messages(OPENAI, *said)
    sent = call["tool_calls"][0]["id"]
    assert answered["tool_call_id"] == sent
    assert len(sent) <= 40
    assert (sent == long) is (length == 40)
    assert messages(ANY, *said)[0]["tool_calls"][0]["id"] == long


def test_what_claude_code_says_to_anthropic_alone_reaches_no_other_provider() -> None:
    billed = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.280.1; cch=ea6aa;"}
    words = {"type": "text", "text": "You are Claude Code."}
    joined = f"{billed['text']}\n{words['text']}"
    for system in ([billed, words], joined):
        assert messages(ANY, by("user", "Hi"), system=system)[0] == by("system", "You are Claude Code.")
    assert messages(ANY, by("user", "Hi"), system=[billed]) == [by("user", "Hi")]


@pytest.mark.parametrize(("dialect", "name"), [(MESSAGES, "messages"), (RESPONSES, "input")])
def test_an_ordinary_conversation_is_what_it_was(dialect: Dialect, name: str) -> None:
    said = [by("user", "Hi"), by("assistant", "Yes?"), by("user", "Go"), by("assistant", "Gone.")]
    for target in (ANY, OPENAI, CLAUDE):
        made = TRANSLATIONS[dialect].request({"model": "m", name: said}, target)
        assert made["messages"] == said


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
