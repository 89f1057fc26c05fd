import time
from uuid import UUID

from crplugins.asgi.scope import SCOPE_KEY, find_exchange, make_exchange
from crplugins.core.exchange import Exchange, Slot, Timings, new_request_id
from crplugins.testing import FrozenClock
from crplugins.testing.asgi import http_scope


def exchange(path: str = "/v1/chat/completions", **scope: object) -> Exchange:
    given = {**http_scope("POST", path, {"X-A": "1"}), **scope}
    return make_exchange(given, FrozenClock(), lambda: "id-1")


def test_it_begins_with_the_facts_of_the_scope() -> None:
    made = exchange()
    assert (made.id, made.method, made.path, made.client) == ("id-1", "POST", "/v1/chat/completions", "127.0.0.1")
    assert made.timings.started == 1000.0
    assert (made.body, made.status, made.outcome, made.usage_source) == (None, None, None, "none")


def test_the_path_is_relative_to_where_the_app_is_mounted() -> None:
    assert exchange("/llm/v1/chat/completions", root_path="/llm").path == "/v1/chat/completions"


def test_a_client_may_be_unknown() -> None:
    assert exchange(client=None).client is None


def test_headers_are_found_by_their_lower_case_name() -> None:
    assert exchange().header(b"x-a") == "1"
    assert exchange().header(b"x-b") is None


def test_setting_a_response_header_replaces_all_of_that_name() -> None:
    made = exchange()
    made.response_headers = [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3")]
    made.set_response_header("X-A", "4")
    assert made.response_headers == [(b"x-b", b"2"), (b"x-a", b"4")]


def test_two_exchanges_share_nothing() -> None:
    first, second = exchange(), exchange()
    first.response_headers.append((b"a", b"b"))
    Slot[int]("n").set(first, 1)
    assert (second.response_headers, second.slots) == ([], {})


def test_a_slot_holds_a_value_per_exchange() -> None:
    slot: Slot[list[int]] = Slot("numbers")
    first, second = exchange(), exchange()
    slot.set(first, [1])
    assert slot.get(first) == [1]
    assert slot.get(second) is None


def test_slots_of_the_same_name_are_two() -> None:
    first, second = Slot[int]("n"), Slot[int]("n")
    made = exchange()
    first.set(made, 1)
    assert second.get(made) is None


def test_an_exchange_is_found_only_if_it_is_one() -> None:
    made = exchange()
    assert find_exchange({SCOPE_KEY: made}) is made
    assert find_exchange({}) is None
    assert find_exchange({SCOPE_KEY: "other"}) is None


def test_token_timings_keep_the_first_the_last_and_the_longest_gap() -> None:
    timings = Timings(0.0)
    for now in (1.0, 1.5, 4.0, 4.1):
        timings.token(now)
    assert (timings.first_token, timings.last_token, timings.longest_gap) == (1.0, 4.1, 2.5)


def test_one_token_has_no_gap() -> None:
    timings = Timings(0.0)
    timings.token(1.0)
    assert timings.longest_gap == 0.0


def test_ids_are_version_7_uuids_of_now() -> None:
    for _ in range(200):
        before = time.time_ns() // 1_000_000
        text = new_request_id()
        value = UUID(text)
        assert (value.version, value.variant, str(value)) == (7, "specified in RFC 4122", text)
        assert before <= value.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_do_not_repeat() -> None:
    assert len({new_request_id() for _ in range(10_000)}) == 10_000
