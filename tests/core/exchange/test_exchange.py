import time
from uuid import UUID

from crplugins.asgi.scope import SCOPE_KEY, find_exchange, make_exchange
from crplugins.core.exchange import Exchange, Slot, Timings, new_request_id
from crplugins.core.sse import Event
from crplugins.core.usage import TokenUsage
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


def hears(made: Exchange, *chunks: str) -> Exchange:
    for chunk in chunks:
        made.note_facts(Event.of(chunk.encode()))
    return made


def test_input_that_was_counted_at_the_start_of_a_stream_holds_where_its_end_counts_none() -> None:
    """As relays write Anthropic's counts in OpenAI's names."""
    first = '{"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 7}}}'
    last = '{"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 4}}}'
    made = hears(exchange(), first, last)
    assert made.usage == TokenUsage(30, 9, cached_input_tokens=7, reasoning_output_tokens=4)
    assert made.usage_source == "provider"
    made.counted(None, "none")
    assert hears(made, last).usage == TokenUsage(0, 9, reasoning_output_tokens=4)


def test_a_bill_is_taken_back_with_the_counts_that_it_is_of() -> None:
    made = hears(exchange(), '{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "cost": 0.5}}')
    assert made.provider_cost_micro_usd == 500_000
    made.counted(None, "none")
    assert made.provider_cost_micro_usd is None


def test_a_tier_is_kept_wherever_a_stream_tells_it() -> None:
    said = '{"model": "m", "choices": [{"index": 0, "delta": {"content": "a"}}]}'
    end = '{"model": "m", "service_tier": "flex", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}'
    assert hears(exchange(), said, end, '{"choices": [], "usage": {"total_tokens": 5}}').service_tier == "flex"
