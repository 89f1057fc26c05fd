from crplugins.handlers.deployment import Deployment, Routes


def routes(*names: str) -> Routes:
    return Routes([(name, f"{name}#{number}") for number, name in enumerate(names)])


def test_a_name_written_out_wins_over_every_wildcard():
    assert routes("*", "gpt-*", "gpt-4").find("gpt-4") == "gpt-4#2"


def test_the_longest_wildcard_that_fits_wins():
    table = routes("*", "gpt-*", "gpt-4*mini")
    assert table.find("gpt-4o-mini") == "gpt-4*mini#2"
    assert table.find("gpt-5") == "gpt-*#1"
    assert table.find("claude") == "*#0"


def test_a_wildcard_does_not_count_the_same_characters_twice():
    assert routes("ab*bc").find("abc") is None


def test_handlers_of_one_name_take_turns():
    table = routes("a", "a", "b")
    assert [table.find("a") for _ in range(4)] == ["a#0", "a#1", "a#0", "a#1"]


def test_only_names_written_out_are_listed_each_once():
    assert routes("b", "a", "b", "x*").names == ["b", "a"]


def test_an_unknown_name_has_no_handler():
    assert routes("a").find("b") is None


def test_a_star_in_the_target_is_filled_with_what_the_star_in_the_name_stood_for():
    assert Deployment("openai/*", "openai/*").model_for("openai/gpt-4o", "*") == "gpt-4o"
    assert Deployment("team-*-x", "openai/*").model_for("team-blue-x", "*-model") == "blue-model"
    assert Deployment("*", "openai/*").model_for("gpt-4o", "*") == "gpt-4o"
    assert Deployment("fast", "openai/gpt").model_for("fast", "gpt") == "gpt"


def test_of_two_wildcards_of_one_length_the_one_with_more_text_before_its_star_wins():
    assert routes("*-mini", "gpt-4*").find("gpt-4-mini") == "gpt-4*#1"
