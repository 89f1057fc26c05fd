"""The dashboard of whoever runs the gateway: what is going on, what it costs, and who is to blame."""

from typing import Any, Final

from crplugins.plugins.metrics import limits
from crplugins.plugins.metrics import table as t
from grafana.source import frame
from grafana.source.frame import SELECTED as S
from grafana.source.objectives import AVAILABILITY, BURNS, LIMITED, PROVIDER_FAULTS
from grafana.source.panels import LOWEST, NONE, Link, Query, bars, heat, lines, tile
from grafana.source.queries import RANGE, RATE, any_of, share
from grafana.source.tables import Column, rows_by

ANSWERED: Final = any_of("outcome", ("ok", "server_error"))
"""What objectives count: mistakes of clients, limits and clients that left are nobody's failure."""

FAILED: Final = 'outcome="server_error"'
METERED: Final = any_of("outcome", ("ok", "server_error", "cancelled"))
"""Requests that may have used tokens."""

SLOW: Final = {2.0: "orange", 5.0: "red"}
ERRORS: Final = {0.01: "orange", 0.05: "red"}
USED_UP: Final = {0.75: "orange", 0.9: "red"}
LEFT: Final = {LOWEST: "red", 0.1: "orange", 0.25: "green"}
HALF_AND_MOST: Final = ((0.5, "p50"), (0.95, "p95"))
PAGES: Final = {1.0: "orange", BURNS[0].factor: "red"}


def overview() -> Any:
    return frame.dashboard(
        "crplugins: Overview",
        frame.OVERVIEW_UID,
        "What the gateway does now: traffic, streaming, cost, limits, providers, objectives.",
        [frame.datasource(), frame.job(), frame.model(), frame.key(), frame.first_token()],
        [
            ("Now", _now()),
            ("Traffic", _traffic()),
            ("Streaming", _streaming()),
            ("Usage and cost", _usage()),
            ("Limits and budgets", _limits()),
            ("Providers and objectives", _providers()),
            ("Retries, fallbacks and rescues", _resilience()),
            ("Queues and room", _room()),
            ("The gateway itself", _gateway()),
        ],
    )


def error_ratio(window: str = RATE, *by: str) -> str:
    return share(S.rate(t.DURATION, FAILED, by=by, window=window), S.rate(t.DURATION, ANSWERED, by=by, window=window))


def _first_token_share(window: str) -> str:
    fast = S.rate(t.TTFT, 'le="$ttft_slo"', window=window, suffix="_bucket")
    return share(fast, S.rate(t.TTFT, window=window))


def _now() -> list[Any]:
    requests = Query(S.rate(t.REQUESTS))
    speed = f"1 / ({S.quantile(0.5, t.TPOT)} > 0)"
    spend = Query(S.increase(t.COST))
    down = Query('count(up{job=~"$job"} == 0) or vector(0)')
    return [
        tile("Requests", "Finished requests per second, refused ones included.", "reqps", requests),
        tile("Error ratio", "Failures of the gateway or its providers among the requests that were theirs to answer.",
             "percentunit", Query(error_ratio()), steps=ERRORS),
        tile("First token p95", "Of streams: until the first piece that says something.", "s",
             Query(S.quantile(0.95, t.TTFT)), steps=SLOW),
        tile("Streams in time", "Share of the streams in the time range whose first token came within the chosen time.",
             "percentunit", Query(_first_token_share(RANGE)), whole=True),
        tile("Output speed", "Tokens per second of a typical stream.", "tok/s", Query(speed)),
        tile("Spend", "Estimated cost in the time range.", "currencyUSD", spend, whole=True),
        tile("In flight", "Requests that are not finished.", "short", Query(S.gauge(t.IN_FLIGHT))),
        tile("Targets down", "Gateways that Prometheus cannot scrape. Their other figures are missing here.", "short",
             down, steps={1: "red"}),
        _models(),
    ]  # fmt: skip


def _models() -> Any:
    by = ("model",)
    columns = [
        Column("Requests", "short", S.increase(t.DURATION, by=by), 0),
        Column("Errors", "percentunit", error_ratio(RANGE, *by)),
        Column("First token p95", "s", S.quantile(0.95, t.TTFT, by=by, window=RANGE)),
        Column("Duration p95", "s", S.quantile(0.95, t.DURATION, 'outcome="ok"', by=by, window=RANGE)),
        Column("Longest gap p99", "s", S.quantile(0.99, t.MAX_GAP, by=by, window=RANGE)),
        Column("Input tokens", "short", S.increase(t.INPUT_TOKENS, by=by)),
        Column("Output tokens", "short", S.increase(t.OUTPUT_TOKENS, by=by)),
        Column("Cost", "currencyUSD", S.increase(t.COST, by=by)),
    ]
    text = "Each model in the time range. Its name leads to this dashboard for that model alone."
    return rows_by("model", "Models", text, columns, frame.ONLY_THIS_MODEL)


def _traffic() -> list[Any]:
    errors = S.rate(t.REQUESTS, 'error_type!=""', by=("error_type", "code"))
    durations = [
        Query(S.quantile(q, t.DURATION, 'outcome="ok"'), f"p{round(q * 100)}", exemplars=q == 0.95)
        for q in (0.5, 0.95, 0.99)
    ]
    overhead = [Query(S.quantile(q, t.OVERHEAD), name) for q, name in ((0.5, "p50"), (0.99, "p99"))]
    return [
        lines("Requests by model", "Finished requests per second.", "reqps",
              Query(S.rate(t.REQUESTS, by=("model",)), "{{model}}"), stacked=True),
        lines("Errors by type and status", "Everything that was no success, whoever is to blame, with the status the "
              "client saw. 200 is a stream that broke off.", "reqps", Query(errors, "{{error_type}} {{code}}"),
              stacked=True, nothing=NONE),
        lines("Requests by endpoint", "Finished requests per second, by the protocol that clients speak.", "reqps",
              Query(S.rate(t.REQUESTS, by=("endpoint",)), "{{endpoint}}"), stacked=True),
        lines("Duration", "Of successes: from the request's arrival to the last byte of its answer.", "s", *durations),
        lines("Gateway overhead", "The part of a request's duration that no provider took.", "s", *overhead),
    ]  # fmt: skip


def _streaming() -> list[Any]:
    by = ("model",)
    first = [Query(S.quantile(q, t.TTFT, by=by), "{{model}} " + p, exemplars=q > 0.5) for q, p in HALF_AND_MOST]
    each = [Query(S.quantile(q, t.TPOT, by=by), "{{model}} " + p) for q, p in HALF_AND_MOST]
    gap = Query(S.quantile(0.99, t.MAX_GAP, by=by), "{{model}} p99")
    spread = Query(S.rate(t.TTFT, by=("le",), suffix="_bucket"), "{{le}}")
    return [
        lines("First token", "Until the first piece of a stream that says something.", "s", *first,
              steps=SLOW),
        lines("Time per output token", "Once per stream: its time after the first token, spread over its tokens.", "s",
              *each),
        lines("Longest silence", "Of a stream: stalls, which a mean would hide.", "s", gap),
        heat("First token, all streams", "How many streams began after how long.", "s", spread),
    ]  # fmt: skip


def _usage() -> list[Any]:
    tokens = [
        Query(S.rate(spec), name)
        for spec, name in (
            (t.INPUT_TOKENS, "input"), (t.OUTPUT_TOKENS, "output"), (t.CACHED_TOKENS, "input, from a cache"),
            (t.WRITTEN_TOKENS, "input, into a cache"), (t.REASONING_TOKENS, "output, reasoning"),
        )
    ]  # fmt: skip
    by = ("model",)
    cost = Query(f"{S.rate(t.COST, by=by)} * 3600", "{{model}}")
    keys = Query(f"topk(10, {S.increase(t.COST, by=('key_id',))} > 0)", "{{key_id}}")
    cached = Query(share(S.rate(t.CACHED_TOKENS, by=by), S.rate(t.INPUT_TOKENS, by=by)), "{{model}}")
    sizes = [
        Query(S.quantile(q, spec), f"{name} {label}")
        for spec, name in ((t.INPUT_SIZE, "input"), (t.OUTPUT_SIZE, "output"))
        for q, label in HALF_AND_MOST
    ]
    return [
        lines("Cost per hour", "Estimated, at the present rate.", "currencyUSD", cost, stacked=True),
        bars("Spend by key", "Of the time range, the ten that spent most.", "currencyUSD", keys,
             link=frame.THIS_KEY),
        lines("Prompt cache hits", "Share of the input tokens that came from a provider's cache.", "percentunit",
              cached, top=1),
        lines("Unmetered share", "Requests whose usage is unknown or estimated, or whose price is unknown. Budgets "
              "count too little of them.", "percentunit", Query(unmetered(), "{{model}} {{reason}}"), top=1,
              steps={0.05: "red"}),
        lines("Tokens", "Per second. Cached ones are part of input, reasoning of output.", "tok/s", *tokens),
        lines("Tokens per request", "Of requests with known usage.", "short", *sizes),
    ]  # fmt: skip


def unmetered() -> str:
    """At most 1: a rate knows nothing of the first request of a series that is new, as that of an outcome may be."""
    part = S.rate(t.UNMETERED, by=("model", "reason"))
    return f"clamp_max({part} / on (model) group_left () ({S.rate(t.DURATION, METERED, by=('model',))} > 0), 1)"


def _limits() -> list[Any]:
    limited = Query(S.rate(t.REQUESTS, any_of("error_type", LIMITED), by=("error_type",)), "{{error_type}}")
    shadow = Query(S.rate(limits.SHADOW_REFUSALS, by=("reason",)), "shadow: {{reason}}")
    return [
        *use_of_limits(link=frame.THIS_KEY),
        bars("Budget left", "Share of the period's budget, the twelve lowest.", "percentunit",
             Query(f"bottomk(12, {budget_left()})", "{{key_id}}"), top=1, steps=LEFT),
        lines("Refusals by limit", "Requests per second over a limit or budget, and those a limit, budget or list of "
              "models in shadow mode would have refused.", "reqps", limited, shadow, nothing=NONE),
    ]  # fmt: skip


def use_of_limits(link: Link | None = None) -> list[Any]:
    """The fullest limits: now, and over time. The lines are of the same limits at every moment, ten and no more."""
    by = ("key_id", "limit")
    used, legend = S.gauge(limits.UTILIZATION, by=by, how="max"), "{{key_id}} {{limit}}"
    fullest = f"max by (key_id, limit) (max_over_time({S.select(limits.UTILIZATION)}[{RANGE}] @ end()))"
    return [
        bars("Fullest limits now", "Share of each limit used in its last period, the ten closest to their end. From "
             "100 % on nothing remains, and the key's next request is refused or waits.", "percentunit",
             Query(f"topk(10, {used})", legend), top=1, steps=USED_UP, link=link),
        lines("Use of limits", "The ten limits that came closest to their end in the time range. The lines across are "
              "at 75 %, where somebody should know, and at 90 %, where the alert CrpluginsLimitSaturated begins.",
              "percentunit", Query(f"{used} and topk(10, {fullest})", legend), steps=USED_UP),
    ]  # fmt: skip


def budget_left() -> str:
    """Not below 0: what runs past a budget is no share of it."""
    by = ("key_id",)
    spent, limit = (S.gauge(spec, by=by, how="max") for spec in (limits.BUDGET_SPENT, limits.BUDGET_LIMIT))
    return f"clamp_min(1 - {spent} / ({limit} > 0), 0)"


def _providers() -> list[Any]:
    by = ("provider", "model")
    failing = share(S.rate(t.ATTEMPTS, any_of("error_type", PROVIDER_FAULTS), by=by), S.rate(t.ATTEMPTS, by=by))
    took = Query(S.quantile(0.95, t.UPSTREAM_DURATION, by=("provider",)), "{{provider}} p95")
    burn = [Query(f"({error_ratio(w)}) / {round(1 - AVAILABILITY.share, 6)}", w) for w in ("5m", "1h")]
    slow = [Query(f"1 - {_first_token_share(w)}", w) for w in ("5m", "1h")]
    return [
        lines("Provider errors", "Share of the calls that failed through a provider's fault.", "percentunit",
              Query(failing, "{{provider}} {{model}}"), top=1, steps={0.5: "red"}),
        lines("Provider duration", "From a call to its last byte or failure.", "s", took),
        lines("Error budget burn", f"1 spends the budget of {AVAILABILITY.share:.0%} availability just in its period; "
              f"{BURNS[0].factor} pages.", "short", *burn, steps=PAGES),
        lines("Streams too late", "Share of the streams whose first token took longer than the chosen time.",
              "percentunit", *slow, top=1, steps={0.05: "orange"}),
    ]  # fmt: skip


def _resilience() -> list[Any]:
    more = [
        Query(share(S.rate(t.ATTEMPTS, f'kind="{kind}"'), S.rate(t.ATTEMPTS)), name)
        for kind, name in (("retry", "retries"), ("fallback", "fallbacks"))
    ]
    again = Query(calls_per_request(RATE), "{{model}}")
    failed = Query(S.rate(t.ATTEMPTS, 'error_type!=""', by=("error_type",)), "{{error_type}}")
    by = ("model", "deployment")
    out = Query(S.gauge(t.DEPLOYMENTS, 'state!="healthy"', by=by), "{{model}}: {{deployment}}")
    running = Query(S.gauge(t.DEPLOYMENT_RUNNING, by=by), "{{model}}: {{deployment}}")
    fallbacks = Query(S.rate(t.FALLBACKS, by=("model", "reason")), "{{model}}: {{reason}}")
    rescues = Query(S.rate(t.RESCUES, by=("kind", "result")), "{{kind}} {{result}}")
    left_out = Query(S.rate(t.LEFT_OUT, by=("model", "provider")), "{{model}}: {{provider}}")
    cooldowns = Query(S.rate(t.COOLDOWNS, by=by), "{{model}}: {{deployment}}")
    return [
        lines("Retries and fallbacks", "Share of all calls of providers.", "percentunit", *more, top=1),
        lines("Calls per request", "Of providers, for a request that is sent to one. 1 is none that is asked again.",
              "short", again),
        lines("Failed calls by reason", "Per second, whether another call answered afterwards or not.", "reqps", failed,
              stacked=True, nothing=NONE),
        lines("Fallbacks by reason", "Requests per second that went to another model, and why.", "reqps", fallbacks,
              stacked=True, nothing=NONE),
        lines("Rescued streams", "Per second: streams that broke and that another deployment took over, and how that "
              "ended.", "reqps", rescues, stacked=True, nothing=NONE),
        lines("Deployments left out", "Processes in which a deployment cools down or is on trial. An idle one "
              "stays so until a request comes.", "short", out),
        lines("Cooldowns", "Per second: how often a deployment was left out because it kept failing.", "cps",
              cooldowns),
        lines("In flight by deployment", "Requests that each deployment is answering.", "short", running),
        lines("Malformed events", "Per second: events of providers' streams that nobody could read and that were left "
              "out.", "cps", left_out, nothing=NONE),
    ]  # fmt: skip


def _room() -> list[Any]:
    waits = [Query(S.quantile(q, t.QUEUE_WAIT, by=("scope",)), f"{{{{scope}}}} {name}") for q, name in HALF_AND_MOST]
    room = [
        Query(S.gauge(t.IN_FLIGHT), "in flight"),
        Query(S.gauge(t.MAX_IN_FLIGHT), "most that may be"),
    ]
    return [
        lines("Waiting for limits", "Requests that wait for a limit or a deployment now, by its scope.", "short",
              Query(S.gauge(t.QUEUE_WAITING, by=("scope",)), "{{scope}}"), nothing=NONE),
        lines("Time in the queue", "How long requests have waited for a limit or a deployment.", "s", *waits,
              nothing=NONE),
        lines("How waits end", "Admitted, left by the client, or refused: the queue was full, the wait too long, the "
              "deadline over.", "reqps", Query(S.rate(t.QUEUED, by=("scope", "end")), "{{scope}} {{end}}"),
              nothing=NONE),
        lines("Room", "Requests that are not finished, and how many may be: server.max_in_flight, of all processes.",
              "short", *room),
        lines("Shed requests", "Refused per second because there was no room, by the priority of their keys.", "reqps",
              Query(S.rate(t.SHED, by=("priority",)), "{{priority}}"), stacked=True),
        lines("Limits without their store", "1 while a gateway decides without the store that it shares.", "short",
              Query(S.gauge(limits.STORE_OUTAGE, by=("instance",), how="max"), "{{instance}}"), top=1),
    ]  # fmt: skip


def calls_per_request(window: str) -> str:
    by = ("model",)
    first = S.rate(t.ATTEMPTS, 'kind="initial"', by=by, window=window)
    return share(S.rate(t.ATTEMPTS, by=by, window=window), first)


def _gateway() -> list[Any]:
    ledger = [
        Query(S.gauge(t.LEDGER_PENDING), "pending"),
        Query(S.gauge(t.LEDGER_SPOOLED, how="max"), "waiting for the database"),
        Query(S.increase(t.LEDGER_DROPPED), "lost in the time range"),
    ]
    job = 'job=~"$job"'
    cpu = Query(f"rate(process_cpu_seconds_total{{{job}}}[{RATE}])", "{{instance}}")
    memory = Query(f"process_resident_memory_bytes{{{job}}}", "{{instance}}")
    version = Query(S.gauge(t.BUILD_INFO, by=("version", "litellm", "python"), how="count"),
                    "crplugins {{version}}, litellm {{litellm}}, Python {{python}}")  # fmt: skip
    return [
        lines("Failed hooks", "Of plugins, per second. One that only observes is muted; any other refuses.", "cps",
              Query(S.rate(t.HOOK_ERRORS, by=("plugin", "hook")), "{{plugin}} {{hook}}"), nothing=NONE),
        lines("Replaced labels", "Requests per second counted as `other`, as a label had too many values.", "reqps",
              Query(S.rate(t.OVERFLOW, by=("label",)), "{{label}}")),
        lines("Ledger", "Usage records on their way to the database.", "short", *ledger),
        lines("Versions", "How many gateways run which.", "short", version),
        lines("CPU", "Cores in use. Not told where several workers share a port.", "short", cpu),
        lines("Memory", "Resident. Not told where several workers share a port.", "bytes", memory),
    ]  # fmt: skip
