"""FairQueue: whose turn it is, whatever comes and goes."""

from collections import Counter
from dataclasses import dataclass

import pytest

from crplugins.limits.fair_queue import FairQueue


@dataclass(eq=False)
class Waits:
    number: int
    key: str
    size: int = 10
    weight: float = 1


def queue_of(*requests: Waits) -> FairQueue[Waits]:
    queue = FairQueue[Waits]()
    for each in requests:
        queue.add(each)
    return queue


def served(queue: FairQueue[Waits], most: int = 1000) -> list[Waits]:
    found: list[Waits] = []
    while len(found) < most and (first := queue.first()) is not None:
        queue.serve(first)
        found.append(first)
    return found


def keys(requests: list[Waits]) -> str:
    return "".join(each.key for each in requests)


def test_a_key_that_comes_late_is_not_behind_the_backlog_of_another() -> None:
    queue = queue_of(*[Waits(n, "a") for n in range(50)], Waits(50, "b"))
    assert keys(served(queue, 3)) == "aba"


def test_a_key_is_served_in_its_order_though_its_requests_differ_in_size() -> None:
    queue = queue_of(*[Waits(n, "a", size) for n, size in enumerate((900, 1, 500, 2))])
    assert [each.number for each in served(queue)] == [0, 1, 2, 3]


def test_keys_are_served_by_weight_in_tokens_and_not_in_requests() -> None:
    """`a` asks for much at once, `b` for little: `b`, of three times the weight, gets three times the tokens."""
    queue = queue_of(*[Waits(n, "a", 100, 1) for n in range(100)], *[Waits(n, "b", 10, 3) for n in range(100, 2000)])
    tokens: Counter[str] = Counter()
    for each in served(queue, 800):
        tokens[each.key] += each.size
        assert abs(tokens["a"] - tokens["b"] / 3) <= 100 + 10 / 3
    assert tokens["a"] > 1000


def test_a_key_that_did_not_wait_saves_nothing_up() -> None:
    queue = queue_of(*[Waits(n, "a") for n in range(100)])
    served(queue, 50)
    for number in range(100, 150):
        queue.add(Waits(number, "b"))
    assert keys(served(queue, 8)) in ("abababab", "babababa")


def test_a_key_that_leaves_and_comes_again_gets_no_more_than_its_share() -> None:
    """Each time nothing of it waits it would begin anew, if what it has had were forgotten."""
    queue = queue_of(*[Waits(n, "a") for n in range(400)])
    tokens: Counter[str] = Counter()
    waits = False
    for number in range(1000, 1200):
        if not waits:
            queue.add(Waits(number, "b", 40))
            waits = True
        [each] = served(queue, 1)
        tokens[each.key] += each.size
        waits = waits and each.key != "b"
        assert abs(tokens["a"] - tokens["b"]) <= 40 + 10


def test_whoever_leaves_has_cost_its_key_nothing() -> None:
    queue = queue_of(*[Waits(n, "a") for n in range(10)])
    left = [Waits(n, "b") for n in range(10, 60)]
    for each in left:
        queue.add(each)
    for each in left[:-1]:
        queue.remove(each)
    assert keys(served(queue, 2)) in ("ab", "ba")


def test_an_older_request_that_waited_elsewhere_comes_before_the_younger_ones_of_its_key() -> None:
    queue = queue_of(Waits(5, "a"), Waits(6, "a"), Waits(2, "a"))
    assert [each.number for each in served(queue)] == [2, 5, 6]


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 3, 2)])
def test_those_before_are_those_that_are_served_before(weights: tuple[int, ...]) -> None:
    requests = [Waits(n, "abc"[n % 3], 10 + 7 * (n % 5), weights[n % 3]) for n in range(40)]
    queue = queue_of(*requests)
    before = {each: set(queue.before(each)) for each in requests}
    order = served(queue)
    assert all(before[each] == set(order[:place]) for place, each in enumerate(order))


def test_the_last_of_the_key_with_the_longest_line_is_too_many_and_not_who_comes_with_a_short_one() -> None:
    greedy = [Waits(n, "a") for n in range(5)]
    newest = Waits(9, "b")
    assert queue_of(*greedy, newest).surplus(newest) is greedy[-1]


def test_the_newest_is_too_many_where_its_key_has_as_much_as_any() -> None:
    newest = Waits(9, "b")
    assert queue_of(Waits(1, "a"), Waits(2, "a"), Waits(3, "b"), newest).surplus(newest) is newest
    heavy = Waits(9, "b", weight=2)
    third = Waits(3, "a")
    assert queue_of(Waits(1, "a"), Waits(2, "a"), third, Waits(4, "b", weight=2), heavy).surplus(heavy) is third


def test_a_queue_keeps_nothing_of_those_that_have_left() -> None:
    queue = queue_of(Waits(0, "stays"))
    for number in range(1, 20_000):
        each = Waits(number, f"key-{number}")
        queue.add(each)
        queue.remove(each)
    assert queue.length == 1
    assert len(queue._heap) < 100  # nothing else shows it


def test_what_keys_have_had_is_remembered_of_a_bounded_number() -> None:
    queue = queue_of(Waits(0, "stays", size=10**9))
    for number in range(1, 10_000):
        each = Waits(number, f"key-{number}")
        queue.add(each)
        queue.serve(each)
    assert len(queue._finished) <= 4096
