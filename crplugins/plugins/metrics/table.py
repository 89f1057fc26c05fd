"""The metrics: names, labels, buckets and help texts, all in this one table.

Dashboards, rules and other people's queries use these names, so that a changed bucket or label is a breaking change.
Base units throughout: seconds, tokens, US dollars. All labels have closed or bounded sets of values.
"""

from typing import Final, Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]
GaugeMode = Literal["livesum", "mostrecent"]

DURATION_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
TTFT_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0)
TPOT_BUCKETS: Final = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1.0)
GAP_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
OVERHEAD_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
QUEUE_BUCKETS: Final = (0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TOKEN_BUCKETS: Final = tuple(float(4**power) for power in range(11))


class Spec(msgspec.Struct, frozen=True):
    """One metric.

    Attributes:
        mode: how the values of several worker processes become one value of a gauge.
        opt_in: only there if it is configured.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    mode: GaugeMode = "livesum"
    opt_in: bool = False

    @property
    def lines(self) -> int:
        """Samples of one child: a histogram has its buckets, one more for `+Inf`, a sum and a count."""
        return len(self.buckets) + 3 if self.kind == "histogram" else 1


def _counter(name: str, help_: str, *labels: str) -> Spec:
    return Spec(f"crplugins_{name}_total", "counter", labels, help_)


def _gauge(name: str, help_: str, *labels: str, mode: GaugeMode = "livesum") -> Spec:
    return Spec(f"crplugins_{name}", "gauge", labels, help_, mode=mode)


def _histogram(
    name: str, help_: str, *labels: str, buckets: tuple[float, ...] = DURATION_BUCKETS, opt_in: bool = False
) -> Spec:
    return Spec(f"crplugins_{name}", "histogram", labels, help_, buckets, opt_in=opt_in)


REQUESTS: Final = _counter(
    "requests",
    "Finished requests, with the status the client saw; error_type is empty for a success.",
    "model", "key_id", "endpoint", "code", "error_type",
)  # fmt: skip
DURATION: Final = _histogram(
    "request_duration_seconds", "From the request's arrival to the last byte of its answer.",
    "model", "endpoint", "stream", "outcome",
)  # fmt: skip
TTFT: Final = _histogram(
    "time_to_first_token_seconds", "To the first piece of a stream that says something.", "model", buckets=TTFT_BUCKETS
)
TPOT: Final = _histogram(
    "time_per_output_token_seconds",
    "Between output tokens, once per stream whose provider reported how many there were.",
    "model", buckets=TPOT_BUCKETS,
)  # fmt: skip
MAX_GAP: Final = _histogram(
    "stream_max_gap_seconds", "The longest silence within a stream.", "model", buckets=GAP_BUCKETS
)
INTER_CHUNK: Final = _histogram(
    "inter_chunk_seconds", "Between two pieces of a stream that say something.",
    "model", buckets=TPOT_BUCKETS, opt_in=True,
)  # fmt: skip
IN_FLIGHT: Final = _gauge("requests_in_flight", "Requests that are not finished.")
MAX_IN_FLIGHT: Final = _gauge("max_in_flight_requests", "Chat completions that may be served at once.")
SHED: Final = _counter(
    "shed_requests", "Requests refused because too many were in flight, by the priority of their keys.", "priority"
)
OVERHEAD: Final = _histogram(
    "overhead_seconds", "The part of a request's duration that no provider took.", buckets=OVERHEAD_BUCKETS
)
INPUT_TOKENS: Final = _counter("input_tokens", "Input tokens, cached ones included.", "model", "key_id")
OUTPUT_TOKENS: Final = _counter("output_tokens", "Output tokens, reasoning included.", "model", "key_id")
CACHED_TOKENS: Final = _counter("cached_input_tokens", "Input tokens read from a cache.", "model", "key_id")
WRITTEN_TOKENS: Final = _counter("cache_write_input_tokens", "Input tokens written to a cache.", "model", "key_id")
REASONING_TOKENS: Final = _counter("reasoning_output_tokens", "Output tokens of reasoning.", "model", "key_id")
COST: Final = _counter("cost_usd", "Estimated cost in US dollars.", "model", "key_id")
CACHE_ANSWERS: Final = _counter(
    "cache_answers", "Requests answered from a cache of the gateway's, for which no provider worked.", "model", "key_id"
)
CACHE_INPUT_TOKENS: Final = _counter(
    "cache_answer_input_tokens", "Input tokens of answers from such a cache; they cost nothing.", "model", "key_id"
)
CACHE_OUTPUT_TOKENS: Final = _counter(
    "cache_answer_output_tokens", "Output tokens of answers from such a cache; they cost nothing.", "model", "key_id"
)
UNMETERED: Final = _counter(
    "unmetered_requests",
    "Answered requests whose usage is unknown (no_usage) or estimated, or whose price is unknown (no_price).",
    "model", "reason",
)  # fmt: skip
INPUT_SIZE: Final = _histogram(
    "request_input_tokens", "Input tokens of a request with known usage.", "model", buckets=TOKEN_BUCKETS
)
OUTPUT_SIZE: Final = _histogram(
    "request_output_tokens", "Output tokens of a request with known usage.", "model", buckets=TOKEN_BUCKETS
)
ATTEMPTS: Final = _counter(
    "upstream_attempts", "Calls of providers: initial, retry or fallback.", "model", "provider", "kind", "error_type"
)
FALLBACKS: Final = _counter(
    "fallbacks",
    "Requests sent to another model, by why: failure, unavailable (none could be asked), context_window, "
    "content_policy.",
    "model", "reason",
)  # fmt: skip
RESCUES: Final = _counter(
    "stream_rescues",
    "Broken streams that another deployment took over: kind restart or continue; result ok, failed or cancelled.",
    "model", "kind", "result",
)  # fmt: skip
LEFT_OUT: Final = _counter(
    "upstream_malformed_events",
    "Events of providers' streams that nobody could read and that were left out (skip_malformed).",
    "model", "provider",
)  # fmt: skip
UPSTREAM_DURATION: Final = _histogram(
    "upstream_duration_seconds", "From a call of a provider to its last byte or failure.", "model", "provider"
)
DEPLOYMENTS: Final = _gauge(
    "deployments", "Processes in which a deployment is in a state: healthy, cooling, trial.",
    "model", "deployment", "state",
)  # fmt: skip
DEPLOYMENT_RUNNING: Final = _gauge(
    "deployment_requests_in_flight", "Requests that a deployment is answering.", "model", "deployment"
)
COOLDOWNS: Final = _counter(
    "deployment_cooldowns", "Times that a deployment was left out because it kept failing.", "model", "deployment"
)
QUEUE_WAITING: Final = _gauge(
    "queue_waiting_requests", "Requests that wait for a limit now, by the scope of the limit.", "scope"
)
QUEUED: Final = _counter(
    "queued_requests",
    "Requests that had to wait for a limit, by how that ended: admitted, left, failed; refused as full, too_long or at "
    "the deadline.",
    "scope", "end",
)  # fmt: skip
QUEUE_WAIT: Final = _histogram(
    "queue_wait_seconds", "How long requests have waited for a limit, however that ended.",
    "scope", buckets=QUEUE_BUCKETS,
)  # fmt: skip
HOOK_ERRORS: Final = _counter("hook_errors", "Hooks of plugins that have failed.", "plugin", "hook")
OVERFLOW: Final = _counter("label_overflow", "Requests that had a label replaced to keep its values few.", "label")
RELOAD_SUCCESSFUL: Final = _gauge(
    "config_last_reload_successful", "1 if the last attempt to load the configuration has succeeded, else 0.",
    mode="mostrecent",
)  # fmt: skip
RELOAD_SUCCESS_TIME: Final = _gauge(
    "config_last_reload_success_timestamp_seconds", "When the configuration that is served was loaded.",
    mode="mostrecent",
)  # fmt: skip
BUILD_INFO: Final = _gauge("build_info", "Always 1.", "version", "python", "litellm", mode="mostrecent")
LEDGER_PENDING: Final = _gauge("ledger_pending_records", "Usage records not yet written to the ledger.")
LEDGER_SPOOLED: Final = _gauge("ledger_spooled_records", "Usage records on disk, waiting for the ledger's database.")
LEDGER_DROPPED: Final = _counter("ledger_dropped_records", "Usage records that were lost.")
SINK_PENDING: Final = _gauge("sink_pending_records", "Usage records not yet published to a sink.", "sink")
SINK_SPOOLED: Final = _gauge("sink_spooled_records", "Usage records on disk, waiting for the broker of a sink.", "sink")
SINK_DROPPED: Final = _counter("sink_dropped_records", "Usage records that a sink has lost.", "sink")
SINK_PUBLISHED: Final = _counter("sink_published_records", "Usage records that a sink has published.", "sink")
WEBHOOKS: Final = _counter(
    "webhook_deliveries",
    "Attempts to tell a receiver, by their end: delivered, retried, failed (given up), dropped (too many waited).",
    "event", "outcome",
)  # fmt: skip
WEBHOOKS_PENDING: Final = _gauge("webhook_pending_messages", "Messages of webhooks that are not delivered yet.")
PUSHES: Final = _counter(
    "otlp_pushes", "Times that these metrics were sent over OTLP, by their end: delivered or failed.", "outcome"
)

TABLE: Final = (
    REQUESTS, DURATION, TTFT, TPOT, MAX_GAP, INTER_CHUNK, IN_FLIGHT, MAX_IN_FLIGHT, SHED, OVERHEAD,
    INPUT_TOKENS, OUTPUT_TOKENS, CACHED_TOKENS, WRITTEN_TOKENS, REASONING_TOKENS, COST,
    CACHE_ANSWERS, CACHE_INPUT_TOKENS, CACHE_OUTPUT_TOKENS, UNMETERED, INPUT_SIZE, OUTPUT_SIZE,
    ATTEMPTS, FALLBACKS, RESCUES, LEFT_OUT, UPSTREAM_DURATION, DEPLOYMENTS, DEPLOYMENT_RUNNING, COOLDOWNS,
    QUEUE_WAITING, QUEUED, QUEUE_WAIT,
    HOOK_ERRORS, OVERFLOW, RELOAD_SUCCESSFUL, RELOAD_SUCCESS_TIME, BUILD_INFO,
    LEDGER_PENDING, LEDGER_SPOOLED, LEDGER_DROPPED, SINK_PENDING, SINK_SPOOLED, SINK_DROPPED, SINK_PUBLISHED,
    WEBHOOKS, WEBHOOKS_PENDING,
    PUSHES,
)  # fmt: skip
