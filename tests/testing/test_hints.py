from crplugins.testing.hints import Hints


def test_numbers_come_in_order_and_once() -> None:
    hints = Hints("magic_function(3), then -4 and 1.5 of v2")
    assert [hints.integer(), hints.integer(), hints.integer(), hints.number(), hints.number()] == [
        3,
        -4,
        None,
        1.5,
        None,
    ]


def test_quoted_words_are_strings_and_apostrophes_are_not_quotes() -> None:
    hints = Hints("What's a customer named '你好' or \"B, C\" or `d` if it's late")
    assert [hints.string() for _ in range(4)] == ["你好", "B, C", "d", None]
