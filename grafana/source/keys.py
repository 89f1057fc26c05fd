"""The dashboard of one key or team: what it spends, how much of its limits is left, and what goes wrong for it."""

from typing import Any, Final

from crplugins.plugins.metrics import limits
from crplugins.plugins.metrics import table as t
from grafana.source import frame
from grafana.source.frame import SELECTED as S
from grafana.source.objectives import CLIENT_ERRORS, LIMITED, SERVER_ERRORS
from grafana.source.overview import LEFT, USED_UP, budget_left, use_of_limits
from grafana.source.panels import NONE, Query, bars, lines, tile
from grafana.source.queries import RANGE, RATE, any_of, share
from grafana.source.tables import Column, rows_by

KEY: Final = ("key_id",)
FAILED: Final = any_of("error_type", SERVER_ERRORS)
ANSWERED: Final = any_of("error_type", ("", *SERVER_ERRORS))
REFUSED: Final = any_of("error_type", (*LIMITED, *CLIENT_ERRORS))
ALL_KEYS: Final = "Of all keys that use the model: durations are not kept per key, which would be too many series."


def keys() -> Any:
    return frame.dashboard(
        "crplugins: Keys",
        frame.KEYS_UID,
        "One key, one team or all of them: spend, tokens, models, limits, refusals, errors, latency.",
        [frame.datasource(), frame.job(), frame.model(), frame.team(), frame.key_of_team()],
        [
            ("Now", _now()),
            ("Spend", _spend()),
            ("Tokens and models", _tokens()),
            ("Limits and refusals", _limits()),
            ("Errors and latency", _errors()),
        ],
    )


def _now() -> list[Any]:
    refused = share(S.rate(t.REQUESTS, REFUSED), S.rate(t.REQUESTS))
    used = S.gauge(limits.UTILIZATION, how="max")
    return [
        tile("Requests", "Finished requests per second, refused ones included.", "reqps", Query(S.rate(t.REQUESTS))),
        tile("Refused", "Share of the requests that a limit, a budget or a check has refused.", "percentunit",
             Query(refused)),
        tile("Error ratio", "Failures of the gateway or its providers among the requests that were theirs to answer.",
             "percentunit", Query(_error_ratio(RATE)), steps={0.01: "orange", 0.05: "red"}),
        tile("Spend", "Estimated cost in the time range.", "currencyUSD", Query(S.increase(t.COST)), whole=True),
        tile("Input tokens", "In the time range, cached ones included.", "short", Query(S.increase(t.INPUT_TOKENS)),
             whole=True),
        tile("Output tokens", "In the time range, reasoning included.", "short", Query(S.increase(t.OUTPUT_TOKENS)),
             whole=True),
        tile("Fullest limit", "Share used in its last period, of the limit closest to its end.", "percentunit",
             Query(used), steps=USED_UP),
        tile("Lowest budget", "What remains of it, as a share.", "percentunit", Query(f"min({budget_left()})"),
             steps=LEFT),
        _table(),
    ]  # fmt: skip


def _table() -> Any:
    columns = [
        Column("Requests", "short", S.increase(t.REQUESTS, by=KEY), 0),
        Column("Refused", "short", S.increase(t.REQUESTS, REFUSED, by=KEY), 0),
        Column("Errors", "percentunit", _error_ratio(RANGE, *KEY)),
        Column("Input tokens", "short", S.increase(t.INPUT_TOKENS, by=KEY)),
        Column("Output tokens", "short", S.increase(t.OUTPUT_TOKENS, by=KEY)),
        Column("Cost", "currencyUSD", S.increase(t.COST, by=KEY)),
        Column("Fullest limit", "percentunit", S.gauge(limits.UTILIZATION, by=KEY, how="max")),
        Column("Budget left", "percentunit", budget_left()),
    ]
    text = "Each key in the time range. Its name leads to this dashboard for that key alone."
    return rows_by("key_id", "Keys", text, columns, frame.ONLY_THIS_KEY)


def _error_ratio(window: str, *by: str) -> str:
    return share(S.rate(t.REQUESTS, FAILED, by=by, window=window), S.rate(t.REQUESTS, ANSWERED, by=by, window=window))


def _spend() -> list[Any]:
    cost = Query(f"{S.rate(t.COST, by=KEY)} * 3600", "{{key_id}}")
    models = Query(f"{S.increase(t.COST, by=('model',))} > 0", "{{model}}")
    spent = Query(S.gauge(limits.BUDGET_SPENT, by=KEY, how="max"), "{{key_id}} spent")
    limit = Query(S.gauge(limits.BUDGET_LIMIT, by=KEY, how="max"), "{{key_id}} budget")
    forecast = Query(_forecast(), "{{key_id}}")
    return [
        lines("Cost per hour by key", "Estimated, at the present rate.", "currencyUSD", cost, stacked=True),
        lines("Budgets", "What is spent of them in their present period.", "currencyUSD", spent, limit),
        lines("Spent by the end of the period", "If it goes on as in the last hour, as a share of the budget.",
              "percentunit", forecast, steps={1.0: "red"}),
        bars("Spend by team", "Of the time range.", "currencyUSD", Query(_by_team(), "{{team}}"), width=6),
        bars("Spend by model", "Of the time range.", "currencyUSD", models, width=6),
    ]  # fmt: skip


def _by_team() -> str:
    """A key that has changed its team counts to one of them, instead of ending the query."""
    cost = S.increase(t.COST, by=("job", "key_id"))
    teams = f"topk by (job, key_id) (1, {S.gauge(limits.KEY_INFO, by=('job', 'key_id', 'team'), how='max')})"
    named = f'label_replace({teams}, "team", "none", "team", "")'
    return f"sum by (team) ({cost} * on (job, key_id) group_left (team) {named})"


def _forecast() -> str:
    spent, limit, reset = (
        S.gauge(spec, by=KEY, how="max") for spec in (limits.BUDGET_SPENT, limits.BUDGET_LIMIT, limits.BUDGET_RESET)
    )
    rest = f"clamp_min({reset} - time(), 0)"
    return f"({spent} + {S.rate(t.COST, by=KEY, window='1h')} * {rest}) / ({limit} > 0)"


def _tokens() -> list[Any]:
    kinds = [
        Query(S.rate(spec), name)
        for spec, name in (
            (t.INPUT_TOKENS, "input"), (t.OUTPUT_TOKENS, "output"), (t.CACHED_TOKENS, "input, from a cache"),
            (t.WRITTEN_TOKENS, "input, into a cache"), (t.REASONING_TOKENS, "output, reasoning"),
        )
    ]  # fmt: skip
    by_key = Query(f"{S.rate(t.INPUT_TOKENS, by=KEY)} + {S.rate(t.OUTPUT_TOKENS, by=KEY)}", "{{key_id}}")
    requests = Query(S.rate(t.REQUESTS, by=KEY), "{{key_id}}")
    models = Query(S.rate(t.REQUESTS, by=("model",)), "{{model}}")
    return [
        lines("Requests by key", "Finished requests per second, refused ones included.", "reqps", requests,
              stacked=True),
        lines("Tokens by key", "Input and output, per second.", "tok/s", by_key, stacked=True),
        lines("Requests by model", "Finished requests per second.", "reqps", models, stacked=True),
        lines("Tokens by kind", "Per second. Cached ones are part of input, reasoning of output.", "tok/s", *kinds),
    ]  # fmt: skip


def _limits() -> list[Any]:
    refused = Query(S.rate(t.REQUESTS, REFUSED, by=("key_id", "error_type")), "{{key_id}} {{error_type}}")
    return [
        *use_of_limits(),
        bars("Budget left", "Share of the period's budget.", "percentunit", Query(budget_left(), "{{key_id}}"), top=1,
             steps=LEFT),
        lines("Refusals", "Requests per second that a limit, a budget or a check has refused.", "reqps", refused,
              nothing=NONE),
    ]  # fmt: skip


def _errors() -> list[Any]:
    types = Query(S.rate(t.REQUESTS, FAILED, by=("key_id", "error_type", "code")), "{{key_id}} {{error_type}} {{code}}")
    first = Query(S.quantile(0.95, t.TTFT, by=("model",)), "{{model}} p95")
    speed = Query(f"1 / ({S.quantile(0.5, t.TPOT, by=('model',))} > 0)", "{{model}} p50")
    took = Query(S.quantile(0.95, t.DURATION, 'outcome="ok"', by=("model",)), "{{model}} p95")
    return [
        lines("Errors", "Failures of the gateway or its providers, with the status the client saw.", "reqps", types,
              nothing=NONE),
        lines("First token by model", ALL_KEYS, "s", first),
        lines("Output speed by model", f"Tokens per second of a typical stream. {ALL_KEYS}", "tok/s", speed),
        lines("Duration by model", f"Of successes. {ALL_KEYS}", "s", took),
    ]  # fmt: skip
