"""Whatever clients send, the number of series stays what it is."""

import random
from itertools import product

from crplugins.core.exchange import Exchange
from crplugins.core.outcome import ERROR_TYPES, OUTCOMES, ErrorType
from crplugins.plugins.metrics.plugin import Metrics
from tests.long import times
from tests.plugins.metrics.setup import finished, run, samples

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
