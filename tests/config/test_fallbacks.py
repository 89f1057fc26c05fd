"""Which models answer in the place of others: LiteLLM's form, shorter ones, its sections, and what is refused."""

from itertools import pairwise

import pytest

from crplugins.handlers.routing.fallbacks import Fallbacks
from tests.config.conftest import Load, Refuse

MODELS = "model_list:\n" + "".join(
    f"  - {{model_name: {name}, litellm_params: {{model: openai/{name[0]}, api_key: x}}{more}}}\n"
    for name, more in (("a", ""), ("b", ""), ("c", ""), ('"w/*"', ""), ("own", ", fallbacks: [c]"))
)


def after(config, name: str) -> list[list[str]]:
    fallbacks = Fallbacks(config.fallback_table())
    return [[*fallbacks.after(name, remedy)] for remedy in ("another", "another_model", "content_policy")]


@pytest.mark.parametrize(
    "text",
    [
        "fallbacks: [{a: [b, c]}]",
        "fallbacks: [{a: [b]}, {a: [c]}]",
        "fallbacks: {a: [b, c]}",
        "default_fallbacks: [b, c]",
        "fallbacks: [b, c]",
        "fallbacks: [{'*': [b, c]}]",
        "litellm_settings: {fallbacks: [{a: [b, c]}]}",
        "litellm_settings: {default_fallbacks: [b, c]}",
        "router_settings: {fallbacks: [{a: [b, c]}]}",
        "router_settings: {fallbacks: [{a: [b, c]}]}\nlitellm_settings: {fallbacks: [{a: [c]}]}",
    ],
)
def test_the_forms_of_fallbacks(load: Load, text: str) -> None:
    assert after(load(MODELS + text), "a")[0] == ["b", "c"]


def test_each_occasion_has_its_own(load: Load) -> None:
    text = "fallbacks: {a: b}\ncontext_window_fallbacks: {a: c}\nlitellm_settings: {content_policy_fallbacks: [{a: [c, b]}]}"
    config = load(MODELS + text)
    assert after(config, "a") == [["b"], ["c"], ["c", "b"]]
    assert config.warnings == ()


def test_those_of_an_entry_come_first_and_a_star_is_the_same_text_in_both(load: Load) -> None:
    config = load(MODELS + "fallbacks: [{own: [b]}, {'w/*': ['w/x-*']}]\ndefault_fallbacks: [a]")
    assert after(config, "own")[0] == ["c", "b"]
    assert after(config, "w/one")[0] == ["w/x-one"]
    assert (after(config, "b")[0], after(config, "a")[0]) == (["a"], [])


@pytest.mark.parametrize("length", [2, 3, 1000])
def test_names_may_fall_back_to_each_other_in_a_circle(load: Load, length: int) -> None:
    names = [f"w/{number}" for number in range(length)]
    circle = ", ".join(f"{name}: {then}" for name, then in pairwise([*names, names[0]]))
    config = load(f"{MODELS}fallbacks: {{{circle}}}\ncontext_window_fallbacks: {{{circle}}}")
    assert after(config, names[-1]) == [["w/0"], ["w/0"], ["w/0"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fallbacks: {a: b}", [["b"], ["b"], ["b"]]),
        ("default_fallbacks: [b]", [["b"], ["b"], ["b"]]),
        ("fallbacks: {a: b}\ncontext_window_fallbacks: {a: c}", [["b"], ["c"], ["b"]]),
        ("fallbacks: {a: b}\ncontext_window_fallbacks: {c: b}", [["b"], ["b"], ["b"]]),
        ("fallbacks: {a: b}\ncontext_window_fallbacks: {a: []}", [["b"], [], ["b"]]),
        ("fallbacks: {a: b}\ncontent_policy_fallbacks: {a: c}", [["b"], ["b"], ["c"]]),
        ("fallbacks: {a: b}\ncontent_policy_fallbacks: {c: b}", [["b"], ["b"], []]),
        ("default_fallbacks: [b]\nlitellm_settings: {context_window_fallbacks: [{c: [b]}]}", [["b"], ["b"], ["b"]]),
        ("context_window_fallbacks: {a: c}", [[], ["c"], []]),
    ],
)
def test_fallbacks_count_where_nothing_is_said_of_long_prompts_or_of_content(load: Load, text: str, expected) -> None:
    assert after(load(MODELS + text), "a") == expected


NOBODY = "is no model in model_list, so that nobody would answer"
ALONE = "falls back to itself alone, so that nobody else would answer"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fallbacks: [{a: [gpt-6]}]", f"line 7: fallbacks.a: 'gpt-6' {NOBODY}"),
        ("fallbacks: [{z: [b]}]", f"line 7: fallbacks.z: 'z' {NOBODY}"),
        ("default_fallbacks: [z]", f"line 7: default_fallbacks[0]: 'z' {NOBODY}"),
        ("fallbacks: [{a: [a]}]", f"line 7: fallbacks.a: {ALONE}"),
        ("fallbacks: [{'w/*': ['w/*', 'w/*']}]", f"line 7: fallbacks.w/*: {ALONE}"),
        ("context_window_fallbacks: {b: b}", f"line 7: context_window_fallbacks.b: {ALONE}"),
        (
            "fallbacks: b",
            "line 7: fallbacks: must be a list such as [{gpt-4o: [claude]}], or a mapping of names to names",
        ),
        (
            "fallbacks: [[a]]",
            "line 7: fallbacks: must be a list such as [{gpt-4o: [claude]}], or a mapping of names to names",
        ),
        ("fallbacks: [{a: [{model: b}]}]", "line 7: fallbacks.a[0]: must be text, not a mapping"),
    ],
)
def test_a_name_that_nobody_serves_and_one_that_falls_back_to_itself_alone_are_mistakes(
    refuse: Refuse, text: str, sentence: str
) -> None:
    assert refuse(MODELS + text) == [sentence]


def test_a_name_in_litellms_fallbacks_that_nobody_serves_is_named_and_the_others_count(load: Load) -> None:
    fallbacks = "[{a: [z, b]}, {z: [a]}, {c: [z]}, {b: [b]}]"
    config = load(f"{MODELS}litellm_settings: {{fallbacks: {fallbacks}, default_fallbacks: [z]}}")
    assert (after(config, "a")[0], after(config, "b")[0]) == (["b"], [])
    assert config.warnings == (
        "litellm_settings.fallbacks[0].a counts in part: no model of this name is served: z",
        "litellm_settings.fallbacks[1].z is ignored: no model of this name is served: z",
        "litellm_settings.fallbacks[2].c is ignored: no model of this name is served: z",
        "litellm_settings.fallbacks[3].b is ignored: it falls back to itself alone",
        "litellm_settings.default_fallbacks[0] is ignored: no model of this name is served: z",
    )
