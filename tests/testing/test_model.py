import json

import pytest

from crplugins.testing import usage_object
from crplugins.testing.model import complete


def ask(text: str = "Hello there", **request: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **request}


def said(request: dict[str, object]) -> str:
    return "".join(complete(request).choices[0].tokens)


def test_it_echoes_and_says_the_same_again() -> None:
    assert said(ask()) == "You said: Hello there"
    assert complete(ask()) == complete(ask())
    assert complete(ask()).id != complete(ask("other")).id


def test_it_counts_as_far_as_it_is_told() -> None:
    assert said(ask("Please count to 5")) == "1 2 3 4 5"
    assert len(complete(ask("count to 999999")).choices[0].tokens) == 10_000


def test_it_reports_tool_results_and_attachments() -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "tool", "tool_call_id": "x", "content": "42"}]
    assert said({"model": "m", "messages": messages}) == "The tool said: 42"
    image = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert said({"model": "m", "messages": [{"role": "user", "content": image}]}) == "You said: Look (attachments: 1)"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_token_limit_cuts_with_finish_reason_length(name: str) -> None:
    choice = complete(ask(**{name: 2})).choices[0]
    assert (choice.tokens, choice.finish_reason) == (("You", " said:"), "length")
    assert complete(ask(**{name: 400})).choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stop", ["said", ["never", "said", "ou s"]])
def test_a_stop_sequence_ends_the_text_before_it(stop: object) -> None:
    assert said(ask(stop=stop)) in {"You ", "Y"}
    assert complete(ask(stop=stop)).choices[0].finish_reason == "stop"


def test_json_output_fits_the_schema_or_the_names_in_the_prompt() -> None:
    schema = {"type": "object", "properties": {"setup": {"type": "string"}}, "required": ["setup"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "joke", "schema": schema}}
    assert json.loads(said(ask(response_format=wanted))) == {"setup": "some setup"}
    text = "JSON with 'setup' and 'punchline' keys"
    keys = json.loads(said(ask(text, response_format={"type": "json_object"})))
    assert set(keys) == {"setup", "punchline"}


def test_usage_is_the_sum_over_all_choices() -> None:
    usage = complete(ask(n=3)).usage
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (7, 12, 19)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0, "audio_tokens": 0}


def test_text_and_usage_can_be_given() -> None:
    numbers = usage_object(12, 4, cached=8, reasoning=2)
    completion = complete(ask(), text="word " * 3, usage=numbers)
    assert completion.choices[0].tokens == ("word", " word", " word", " ")
    assert completion.usage["prompt_tokens_details"]["cached_tokens"] == 8
    assert completion.usage["completion_tokens_details"]["reasoning_tokens"] == 2


def test_deprecated_functions_are_called() -> None:
    completion = complete(ask(functions=[{"name": "f", "parameters": {}}], function_call={"name": "f"}))
    assert (completion.legacy, completion.choices[0].finish_reason) == (True, "function_call")
