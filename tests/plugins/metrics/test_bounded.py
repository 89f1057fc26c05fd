"""Whatever clients send, the number of series stays what it is."""

import random
from itertools import product
from typing import Any

from crplugins.core.exchange import Exchange
from crplugins.core.outcome import ERROR_TYPES, OUTCOMES, ErrorType
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.metrics.slots import QUIET_SECONDS
from tests.long import times
from tests.plugins.metrics.setup import finished, run, samples, value

REQUESTS = times(20_000, 1_000_000)


MODELS = ("m", "gpt-4", "somebody's", None)


def become(exchange: Exchange, model: str | None, error_type: ErrorType, *, stream: bool) -> Exchange:
    """The same exchange for another request of its key."""
    exchange.slots.clear()  # the record
    exchange.requested_model, exchange.stream = model, stream
    exchange.error_type, exchange.outcome = error_type, OUTCOMES[error_type]
    exchange.status = 500 if error_type else 200
    return exchange


def test_thousands_of_random_models_and_keys_make_no_new_series():
    rng = random.Random(7)
    metrics = Metrics(["m", "gpt-*"], ["team-a"], key_cap=20)
    exchanges = [finished(key_id=None), *(finished(key_id=f"key-{number}") for number in range(2_000))]
    for exchange, model, error_type, stream in product(exchanges[:25], MODELS, ERROR_TYPES, (True, False)):
        run(metrics, become(exchange, model, error_type, stream=stream))
    full = set(samples(metrics))
    for _ in range(REQUESTS):
        model = rng.choice((*MODELS, f"m-{rng.getrandbits(64):x}", f"gpt-{rng.random()}"))
        run(metrics, become(rng.choice(exchanges), model, rng.choice(ERROR_TYPES), stream=rng.random() < 0.5))
    assert set(samples(metrics)) == full
    assert len(full) <= metrics.worst_case_series()


def test_a_key_that_was_quiet_for_an_hour_gives_its_series_to_a_new_one():
    metrics = Metrics(["m"], ["team-a"], key_cap=3)
    for number, key_id in enumerate(("team-a", "deleted", "busy")):
        run(metrics, at(number, key_id))
    run(metrics, at(QUIET_SECONDS - 1, "busy"))
    run(metrics, at(QUIET_SECONDS - 1, "new"))
    assert value(metrics, "input_tokens_total", model="m", key_id="new") is None
    assert value(metrics, "input_tokens_total", model="m", key_id="other") == 900
    run(metrics, at(QUIET_SECONDS + 1, "new"))
    assert value(metrics, "input_tokens_total", model="m", key_id="new") == 900
    assert value(metrics, "input_tokens_total", model="m", key_id="busy") == 1800
    assert value(metrics, "input_tokens_total", model="m", key_id="team-a") == 900  # a configured one keeps its place
    assert not [labels for _, labels in samples(metrics) if ("key_id", "deleted") in labels]
    assert len(samples(metrics)) <= metrics.worst_case_series()


def test_a_key_that_comes_back_begins_with_nothing_and_while_all_are_in_use_is_other():
    metrics = Metrics(["m"], key_cap=1)
    run(metrics, at(0, "first", status=429, error_type="rate_limited"))
    run(metrics, at(QUIET_SECONDS, "second"))
    run(metrics, at(QUIET_SECONDS + 1, "first"))
    assert value(metrics, "requests_total", model="m", key_id="other", code="200", error_type="") == 1
    run(metrics, at(2 * QUIET_SECONDS, "first"))
    assert value(metrics, "input_tokens_total", model="m", key_id="first") == 900
    assert value(metrics, "requests_total", model="m", key_id="first", code="429", error_type="rate_limited") is None
    assert value(metrics, "input_tokens_total", model="m", key_id="second") is None


def test_a_key_that_is_no_longer_configured_can_give_its_series_away():
    metrics = Metrics(["m"], ["gone"], key_cap=1)
    run(metrics, at(0, "gone"))
    run(metrics, at(QUIET_SECONDS, "new"))
    assert value(metrics, "input_tokens_total", model="m", key_id="gone") == 900
    metrics.configure(["m"], [], 1)
    run(metrics, at(QUIET_SECONDS, "new"))
    assert value(metrics, "input_tokens_total", model="m", key_id="new") == 900
    assert value(metrics, "input_tokens_total", model="m", key_id="gone") is None


def test_no_counter_goes_back_while_keys_come_and_go():
    rng, metrics, moment = random.Random(8), Metrics(["m", "gpt-*"], ["team-a"], key_cap=5), 0.0
    before = samples(metrics)
    for _ in range(400):
        moment += rng.choice((1.0, 60.0, QUIET_SECONDS / 3))
        run(metrics, at(moment, f"key-{rng.randrange(12)}", model=rng.choice(("m", "gpt-4", "x"))))
        now = samples(metrics)
        assert len({dict(labels)["key_id"] for _, labels in now if "key_id" in dict(labels)} - {"other", "none"}) <= 5
        assert all(value >= before[name] for name, value in now.items() if name in before and "_gauge" not in name[0])
        before = now


def at(ended: float, key_id: str, **facts: Any) -> Exchange:
    """A request of a key that is over then."""
    exchange = finished(key_id=key_id, **facts)
    exchange.timings.ended = 1_000.0 + ended
    return exchange
