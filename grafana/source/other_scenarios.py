"""Every other alert on trial: what fires it, and what comes close and does not."""

from collections.abc import Iterator, Mapping
from typing import Final

from crplugins.plugins.metrics import limits
from crplugins.plugins.metrics import table as t
from grafana.source.scenarios import Firing, Scenario, each, growing, series, standing

OTHER_INSTANCE: Final = "b:4000"


def other_scenarios() -> Iterator[Scenario]:
    yield _nearly_spent()
    yield _will_run_out()
    yield _saturated()
    yield _unmetered()
    yield _upstream()
    yield _fallback()
    yield _deployment_out()
    yield _model_out()
    yield _streams_break()
    yield _malformed()
    yield _multiplied()
    yield _queue_overrun()
    yield _shed()
    yield _high_shed()
    yield _spool()
    yield _lost()
    yield _outage()
    yield _overflow()
    yield _hooks()
    yield _reload()
    yield from _down()


def _nearly_spent() -> Scenario:
    """Two instances tell the same budget: that is one alert. A budget of 0 has no share."""
    data = {
        series(spec, key_id=key, instance=instance): standing(usd, 30)
        for key, spent, limit in (("full", 9.1, 10), ("free", 8.9, 10), ("nothing", 0, 0))
        for spec, usd in ((limits.BUDGET_SPENT, spent), (limits.BUDGET_LIMIT, limit))
        for instance in ("a:4000", OTHER_INSTANCE)
    }
    name = "CrpluginsBudgetNearlySpent"
    return Scenario(name, data, (Firing("4m", name), Firing("6m", name, each("ticket", "key_id", ["full"]))))


def _will_run_out() -> Scenario:
    """A dollar a minute, unless it says otherwise. `soon` has a new period in time; `over` has spent all of it."""
    keys = {"fast": (20, 1, 10_800), "slow": (20, 0.1, 10_800), "soon": (20, 1, 4200), "over": (110, 1, 10_800)}
    data: dict[str, str] = {}
    for key, (spent, per_minute, reset) in keys.items():
        data[series(limits.BUDGET_LIMIT, key_id=key)] = standing(100, 90)
        data[series(limits.BUDGET_SPENT, key_id=key)] = growing(per_minute, 90, spent)
        data[series(limits.BUDGET_RESET, key_id=key)] = standing(reset, 90)
        data[series(t.COST, key_id=key, model="m")] = growing(per_minute, 90)
    name = "CrpluginsBudgetWillRunOut"
    return Scenario(name, data, (Firing("25m", name), Firing("75m", name, each("ticket", "key_id", ["fast"]))))


def _saturated() -> Scenario:
    limit = "tokens_per_minute"
    data = {
        series(limits.UTILIZATION, key_id=key, limit=limit): standing(used, 30)
        for key, used in (("full", 0.91), ("free", 0.89))
    }
    name = "CrpluginsLimitSaturated"
    fires = each("ticket", "key_id", ["full"], limit=limit)
    return Scenario(name, data, (Firing("9m", name), Firing("12m", name, fires)))


def _unmetered() -> Scenario:
    """Refusals are no traffic that could be metered: they hide nothing."""
    data: dict[str, str] = {}
    for model, per_minute in (("blind", 5.5), ("good", 4.5)):
        data[series(t.UNMETERED, model=model, reason="no_usage")] = growing(per_minute, 90)
        data[series(t.UNMETERED, model=model, reason="no_price")] = growing(0, 90)
        for outcome, requests in (("ok", 80), ("cancelled", 20), ("limited", 900)):
            data[series(t.DURATION, "_count", model=model, endpoint="chat", stream="true", outcome=outcome)] = growing(
                requests, 90
            )
    name = "CrpluginsUnmeteredTraffic"
    fires = each("ticket", "model", ["blind"], reason="no_usage")
    return Scenario(name, data, (Firing("25m", name), Firing("40m", name, fires)))


def _upstream() -> Scenario:
    """`picky` refuses what clients send, `rare` is hardly called: neither is a failing provider."""
    calls = {
        "down": {"": 40, "upstream_5xx": 25, "upstream_timeout": 20}, "shaky": {"": 60, "upstream_5xx": 50},
        "picky": {"": 10, "upstream_4xx": 90}, "rare": {"upstream_connect": 2},
    }  # fmt: skip
    data = {
        series(t.ATTEMPTS, provider=provider, model="m", kind="initial", error_type=kind): growing(per_minute, 30)
        for provider, kinds in calls.items()
        for kind, per_minute in kinds.items()
    }
    name = "CrpluginsUpstreamFailing"
    fires = each("page", "provider", ["down"], model="m")
    return Scenario(name, data, (Firing("4m", name), Firing("8m", name, fires)))


def _fallback() -> Scenario:
    data: dict[str, str] = {}
    for model, per_minute in (("often", 6), ("seldom", 4)):
        labels = {"model": model, "error_type": ""}
        data[series(t.ATTEMPTS, provider="one", kind="initial", **labels)] = growing(100, 60)
        data[series(t.ATTEMPTS, provider="one", kind="retry", **labels)] = growing(50, 60)
        data[series(t.ATTEMPTS, provider="two", kind="fallback", **labels)] = growing(per_minute, 60)
    name = "CrpluginsFallbackInUse"
    return Scenario(name, data, (Firing("14m", name), Firing("20m", name, each("ticket", "model", ["often"]))))


def _deployments(courses: Mapping[tuple[str, str], tuple[str, str]]) -> dict[str, str]:
    """By model and deployment: in how many processes it is healthy, and its cooldowns."""
    return {
        selector: values
        for (model, deployment), (healthy, cooldowns) in courses.items()
        for selector, values in (
            (series(t.DEPLOYMENTS, model=model, deployment=deployment, state="healthy"), healthy),
            (series(t.COOLDOWNS, model=model, deployment=deployment), cooldowns),
        )
    }


def _deployment_out() -> Scenario:
    """`half` is well in one of two processes, `idle` has failed once and nobody has asked since."""
    data = _deployments({
        ("m", "out"): ("0x60", growing(5, 60)), ("m", "half"): ("1x60", growing(5, 60)),
        ("m", "well"): ("2x60", "0x60"), ("n", "idle"): ("0x60", "1x60"), ("n", "back"): ("0x20 2x40", growing(5, 20)),
    })  # fmt: skip
    name = "CrpluginsDeploymentOut"
    fires = [{"model": "m", "deployment": "out"}, {"model": "n", "deployment": "back"}]
    before = tuple({"job": "crplugins", "severity": "ticket"} | labels for labels in fires)
    return Scenario(name, data, (Firing("9m", name), Firing("15m", name, before), Firing("30m", name, before[:1])))


def _model_out() -> Scenario:
    data = _deployments({
        ("gone", "a"): ("0x60", growing(5, 60)), ("gone", "b"): ("0x60", growing(5, 60)),
        ("half", "a"): ("0x60", growing(5, 60)), ("half", "b"): ("1x60", "0x60"), ("idle", "a"): ("0x60", "1x60"),
    })  # fmt: skip
    name = "CrpluginsModelOut"
    return Scenario(name, data, (Firing("2m", name), Firing("10m", name, each("page", "model", ["gone"]))))


def _streams_break() -> Scenario:
    """Whether the rescue succeeds or not; `seldom` breaks now and then, and one stream a night is no trend."""
    data: dict[str, str] = {}
    for model, streams, good, bad in (("often", 60, 2, 2), ("seldom", 60, 1, 1), ("night", 0.02, 0.02, 0)):
        data[series(t.TTFT, "_count", model=model)] = growing(streams, 60)
        data[series(t.RESCUES, model=model, kind="restart", result="ok")] = growing(good, 60)
        data[series(t.RESCUES, model=model, kind="restart", result="failed")] = growing(bad, 60)
    name = "CrpluginsStreamsBreak"
    return Scenario(name, data, (Firing("9m", name), Firing("20m", name, each("ticket", "model", ["often"]))))


def _malformed() -> Scenario:
    """One event in a thousand calls is an accident, and so is one in a quiet night."""
    data: dict[str, str] = {}
    for provider, calls, events in (("broken", 60, 6), ("good", 60, 0.06), ("quiet", 0.1, 0.1)):
        labels = {"provider": provider, "model": "m"}
        data[series(t.ATTEMPTS, kind="initial", error_type="", **labels)] = growing(calls, 60)
        data[series(t.LEFT_OUT, **labels)] = growing(events, 60)
    name = "CrpluginsMalformedEvents"
    fires = each("ticket", "provider", ["broken"], model="m")
    return Scenario(name, data, (Firing("9m", name), Firing("20m", name, fires)))


def _multiplied() -> Scenario:
    """A third of the requests is asked again without an alert, and of a model that is hardly asked for all may be."""
    data: dict[str, str] = {}
    for model, first, more in (("storm", 60, 30), ("shaky", 60, 20), ("rare", 1, 1)):
        labels = {"model": model, "provider": "one"}
        data[series(t.ATTEMPTS, kind="initial", error_type="", **labels)] = growing(first, 60)
        data[series(t.ATTEMPTS, kind="retry", error_type="upstream_5xx", **labels)] = growing(more, 60)
    name = "CrpluginsCallsMultiplied"
    return Scenario(name, data, (Firing("9m", name), Firing("20m", name, each("ticket", "model", ["storm"]))))


def _queue_overrun() -> Scenario:
    """A client that leaves is not refused, and one refusal a night is no trend."""
    ends = {
        "key": {"admitted": 6, "deadline": 1, "full": 1, "too_long": 1}, "model": {"admitted": 9, "full": 1, "left": 9},
        "team": {"admitted": 0.01, "full": 0.1},
    }  # fmt: skip
    data = {
        series(t.QUEUED, scope=scope, end=end): growing(per_minute, 60)
        for scope, counts in ends.items()
        for end, per_minute in counts.items()
    }
    name = "CrpluginsQueueOverrun"
    return Scenario(name, data, (Firing("9m", name), Firing("20m", name, each("ticket", "scope", ["key"]))))


def _shed() -> Scenario:
    """A crowd that has gone is no ticket."""
    courses = {"low": growing(30, 60), "normal": f"{growing(30, 8)} {growing(0, 52, 240)}", "high": growing(0, 60)}
    data = {series(t.SHED, priority=priority): values for priority, values in courses.items()}
    name = "CrpluginsRequestsShed"
    return Scenario(name, data, (Firing("9m", name), Firing("20m", name, each("ticket", "priority", ["low"]))))


def _high_shed() -> Scenario:
    courses = {"low": growing(300, 60), "normal": growing(300, 60), "high": f"0x10 {growing(3, 10, 3)} 33x30"}
    data = {series(t.SHED, priority=priority): values for priority, values in courses.items()}
    name = "CrpluginsHighPriorityShed"
    fires = each("page", "priority", ["high"])
    return Scenario(name, data, (Firing("10m", name), Firing("15m", name, fires), Firing("40m", name)))


def _spool() -> Scenario:
    """A spool that empties is an outage that is over."""
    courses = {"grows:1": growing(5, 60, 5), "stuck:1": standing(10, 60), "empties:1": "600-5x60", "none:1": "0x60"}
    data = {series(t.LEDGER_SPOOLED, instance=instance): values for instance, values in courses.items()}
    name = "CrpluginsLedgerSpoolGrowing"
    fires = each("ticket", "instance", ["grows:1", "stuck:1"])
    return Scenario(name, data, (Firing("4m", name), Firing("30m", name, fires)))


def _lost() -> Scenario:
    data = {
        series(t.LEDGER_DROPPED, instance="lost:1"): "0x9 3x120",
        series(t.LEDGER_DROPPED, instance="good:1"): standing(0, 120),
    }
    name = "CrpluginsLedgerRecordsLost"
    fires = each("page", "instance", ["lost:1"])
    return Scenario(name, data, (Firing("9m", name), Firing("11m", name, fires), Firing("90m", name)))


def _outage() -> Scenario:
    data = {
        series(limits.STORE_OUTAGE, instance="cut:1"): "0x5 1x20",
        series(limits.STORE_OUTAGE, instance="good:1"): standing(0, 30),
    }
    name = "CrpluginsLimitStoreOutage"
    fires = each("page", "instance", ["cut:1"])
    return Scenario(name, data, (Firing("7m", name), Firing("10m", name, fires)))


def _overflow() -> Scenario:
    """Strangers may ask for models that do not exist as often as they like."""
    data = {
        series(t.OVERFLOW, label=label): growing(per, 30) for label, per in (("key_id", 1), ("model", 9), ("code", 0))
    }
    name = "CrpluginsLabelOverflow"
    return Scenario(name, data, (Firing("0m", name), Firing("5m", name, each("ticket", "label", ["key_id"]))))


def _hooks() -> Scenario:
    """A fault that is over is not reported for ever."""
    data = {series(t.HOOK_ERRORS, plugin="Redact", hook="on_request"): f"{growing(1, 20)} {growing(0, 40, 20)}"}
    name = "CrpluginsHookErrors"
    fires = each("ticket", "plugin", ["Redact"], hook="on_request")
    return Scenario(name, data, (Firing("9m", name), Firing("15m", name, fires), Firing("40m", name)))


def _reload() -> Scenario:
    """A mistake that is mended within ten minutes is nobody's ticket, nor is one that has been mended."""
    data = {
        series(t.RELOAD_SUCCESSFUL, instance="wrong:1"): "1x2 0x20 1x20",
        series(t.RELOAD_SUCCESSFUL, instance="well:1"): "1x40",
    }
    name = "CrpluginsConfigReloadFailed"
    fires = each("ticket", "instance", ["wrong:1"])
    return Scenario(name, data, (Firing("10m", name), Firing("16m", name, fires), Firing("30m", name)))


def _down() -> Iterator[Scenario]:
    """Down is one that does not answer, and no one at all. Other jobs are somebody else's."""
    name = "CrpluginsDown"
    up = 'up{{instance="{}",job="{}"}}'
    one = {
        up.format("down:1", "crplugins"): "1x2 0x10", up.format("up:1", "crplugins"): "1x20",
        up.format("other:1", "node"): "0x20",
    }  # fmt: skip
    yield Scenario(name, one, (Firing("4m", name), Firing("8m", name, each("page", "instance", ["down:1"]))))
    absent = ({"job": "crplugins", "severity": "page"},)
    none = {up.format("other:1", "node"): "1x20"}
    yield Scenario(f"{name}: no target at all", none, (Firing("1m", name), Firing("8m", name, absent)))
