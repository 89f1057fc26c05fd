"""Objectives on trial: every burn alert just above its threshold and just below, early, late, with little traffic."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from crplugins.plugins.metrics import table as t
from grafana.source.objectives import (
    AVAILABILITY,
    BURNS,
    FIRST_TOKEN,
    FIRST_TOKEN_SECONDS,
    Burn,
    Objective,
    bound,
)
from grafana.source.scenarios import Firing, Labels, Scenario, growing, series

MINUTES: Final = 200
"""Enough for every alert to have held."""

_IN_MINUTES: Final = {"m": 1, "h": 60, "d": 1440}

Traffic = Callable[[str, float, float, int], Mapping[str, str]]
"""Series of a model with so many requests a minute, a share of them bad, for so many minutes."""


def burn_scenarios() -> Iterator[Scenario]:
    yield from _scenarios(AVAILABILITY, _failing)
    yield from _scenarios(FIRST_TOKEN, _late)
    yield _nobodys_failure()
    yield _no_dilution()
    yield _ended()
    yield _blip()


def _scenarios(objective: Objective, traffic: Traffic) -> Iterator[Scenario]:
    yield _thresholds(objective, traffic)
    yield _holds(objective, traffic)
    yield _little_traffic(objective, traffic)


def _thresholds(objective: Objective, traffic: Traffic) -> Scenario:
    """A model on each side of each threshold. Whatever passes one passes the lower ones too."""
    shares: dict[str, float] = {}
    for burn in BURNS:
        shares[f"above-{burn.factor:g}"] = objective.threshold(burn) * 1.05
        shares[f"below-{burn.factor:g}"] = objective.threshold(burn) * 0.95
    data: dict[str, str] = {}
    for model, share in shares.items():
        data |= traffic(model, 1000, share, MINUTES)
    firing = tuple(
        Firing(f"{MINUTES}m", objective.alert, tuple(_labels(burn, model) for model, share in shares.items()
               if share > objective.threshold(burn)), burn.long)
        for burn in BURNS
    )  # fmt: skip
    return Scenario(f"{objective.alert}: thresholds", data, firing)


def _holds(objective: Objective, traffic: Traffic) -> Scenario:
    """Nobody is told of what ends by itself before it has lasted."""
    firing: list[Firing] = []
    for burn in BURNS:
        hold = _minutes(burn.hold)
        firing.append(Firing(f"{hold}m", objective.alert, (), burn.long))
        firing.append(Firing(f"{hold + 3}m", objective.alert, (_labels(burn, "m"),), burn.long))
    return Scenario(f"{objective.alert}: only what lasts", traffic("m", 1000, 0.9, 240), tuple(firing))


def _little_traffic(objective: Objective, traffic: Traffic) -> Scenario:
    """One request a minute is too few for an hour, but enough for six."""
    hour, day = BURNS[0], BURNS[1]
    firing = (
        Firing("80m", objective.alert, (), hour.long),
        Firing("80m", objective.alert, (), day.long),
        Firing("150m", objective.alert, (), hour.long),
        Firing("150m", objective.alert, (_labels(day, "m"),), day.long),
    )
    return Scenario(f"{objective.alert}: little traffic", traffic("m", 1, 1, 160), firing)


def _nobodys_failure() -> Scenario:
    data = {_ended_as("m", outcome): growing(500, MINUTES) for outcome in ("client_error", "limited", "cancelled")}
    data[_ended_as("m", "ok")] = growing(100, MINUTES)
    firing = tuple(Firing(f"{MINUTES}m", AVAILABILITY.alert, (), burn.long) for burn in BURNS)
    return Scenario("mistakes of clients, limits and clients that left burn nothing", data, firing)


def _no_dilution() -> Scenario:
    data = {
        _ended_as("m", "ok"): growing(80, 60), _ended_as("m", "server_error"): growing(20, 60),
        **{_ended_as("m", outcome): growing(1000, 60) for outcome in ("client_error", "limited", "cancelled")},
    }  # fmt: skip
    firing = Firing("30m", AVAILABILITY.alert, (_labels(BURNS[0], "m"),), BURNS[0].long)
    return Scenario("mistakes of clients do not hide failures", data, (firing,))


def _ended() -> Scenario:
    """Half an hour of failures, then none. The long windows still know of it, the short ones no more."""
    data = {
        _ended_as("m", "server_error"): f"{growing(100, 30)} {growing(0, 90, 3000)}",
        _ended_as("m", "ok"): f"{growing(0, 30)} {growing(100, 90)}",
    }
    firing = tuple(
        Firing(at, AVAILABILITY.alert, fires, burn.long)
        for burn, at, fires in (
            (BURNS[0], "30m", (_labels(BURNS[0], "m"),)), (BURNS[0], "40m", ()),
            (BURNS[1], "30m", (_labels(BURNS[1], "m"),)), (BURNS[1], "65m", ()),
        )
    )  # fmt: skip
    return Scenario("what is over stops paging", data, firing)


def _blip() -> Scenario:
    """Half a bad hour after four good ones: the short windows are alarmed, the long ones are not."""
    data = {
        _ended_as("m", "server_error"): f"{growing(0, 240)} {growing(200, 30)}",
        _ended_as("m", "ok"): f"{growing(1000, 240)} {growing(800, 30, 240_000)}",
    }
    firing = tuple(Firing("268m", AVAILABILITY.alert, (), burn.long) for burn in BURNS[:2])
    return Scenario("a blip is no burn", data, firing)


def _failing(model: str, per_minute: float, share: float, minutes: int) -> Mapping[str, str]:
    return {
        _ended_as(model, "ok"): growing(per_minute * (1 - share), minutes),
        _ended_as(model, "server_error"): growing(per_minute * share, minutes),
    }


def _late(model: str, per_minute: float, share: float, minutes: int) -> Mapping[str, str]:
    fast = series(t.TTFT, "_bucket", model=model, le=bound(FIRST_TOKEN_SECONDS))
    later = series(t.TTFT, "_bucket", model=model, le="3.0")
    return {
        fast: growing(per_minute * (1 - share), minutes),
        later: growing(per_minute, minutes),
        series(t.TTFT, "_count", model=model): growing(per_minute, minutes),
    }


def _ended_as(model: str, outcome: str) -> str:
    return series(t.DURATION, "_count", model=model, endpoint="chat", stream="true", outcome=outcome)


def _labels(burn: Burn, model: str) -> Labels:
    return {"job": "crplugins", "model": model, "severity": burn.severity, "window": burn.long}


def _minutes(duration: str) -> int:
    return int(duration[:-1]) * _IN_MINUTES[duration[-1]]
