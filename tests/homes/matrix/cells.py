"""What a home cannot do, and why: the cells of the matrix that say something else than yes."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import pytest

from tests.homes.matrix.home import Home

Check = Callable[[Home], None]

GROUPS: dict[str, tuple[str, ...]] = {
    "gateway": ("gateway-direct", "gateway-litellm"),
    "gateway in an app": ("gateway-mounted",),
    "your app": ("PluginMiddleware", "fastapi", "litestar", "django", "quart", "blacksheep"),
    "vLLM": ("vllm",),
    "LiteLLM: entry": ("litellm-entry",),
    "LiteLLM: callback": ("litellm-callback",),
    "LiteLLM: its own keys": ("litellm-own-keys",),
    "LiteLLM's SDK": ("litellm-sdk",),
}
"""The homes by the columns that they have in crplugins/homes/README.md."""

APPS = (*GROUPS["your app"], "vllm")
CALLBACKS = ("litellm-callback", "litellm-own-keys")

_PASSED = (
    "rerank", "moderations", "images", "image_edits", "image_variations", "transcriptions", "translations", "speech",
)  # fmt: skip

_FOR_SERVERS = (
    "keys", "aliases", "models of a key", "usage of streams", "limits", "waiting for limits",
    "limits of long streams", "budgets", "limits of end users", "limits of sessions", "budgets of sessions", "a full process",
    "a model without a price", "a body too large", "too many answers",
    "odd tool calls", "a body that is no JSON", "a client that leaves", "early counts", "other protocols", "keys in other protocols",
    *_PASSED,
)  # fmt: skip

_GOES_ON = "BlackSheep does not listen for its client while it streams: the work goes on to its end."

_REASONS: list[tuple[Sequence[str], Sequence[str], str]] = [
    (["gateway-mounted"], ["keys"], "The app says who calls; whom it does not know gets our 401."),
    (["litellm-own-keys"], ["keys", "models of a key"], "LiteLLM says who calls and what, and refuses in its words."),
    (APPS, ["a provider that fails"], "The app answers for its provider: what it says passes as it is."),
    (
        ["blacksheep"],
        ["a client that leaves"],
        _GOES_ON,
    ),
    (CALLBACKS, ["a body too large"], "A callback is called once LiteLLM has read the body."),
    (CALLBACKS, ["a body that is no JSON"], "LiteLLM refuses it in its own words before it calls anybody."),
    (
        ["gateway-mounted", "litellm-own-keys"],
        ["plugins of one's own"],
        "The host refuses a request without a good key before a plugin has seen it.",
    ),
    (
        CALLBACKS,
        ["a plugin's own cache"],
        "LiteLLM has no way to be answered for: such a request is refused with 500. In the entry it works.",
    ),
    (
        ["gateway-litellm"],
        _PASSED,
        "litellm translates none of these: `handler: direct` asks an upstream that has them.",
    ),
    (
        ["litellm-entry", "litellm-callback"],
        _PASSED,
        "With keys of ours nobody may ask LiteLLM for these (403 or 404): nothing would limit or record them.",
    ),
    (
        ["litellm-own-keys"],
        _PASSED,
        "LiteLLM answers these by its own rules: aliases of ours are unknown models there, and it has no translations.",
    ),
    (["litellm-sdk"], ["a plugin's own cache"], "Plugins see a call when it is over."),
    (["litellm-own-keys"], ["early counts"], "LiteLLM's keys have no policy for missing usage."),
    (["blacksheep"], ["early counts"], _GOES_ON),
    (["litellm-sdk"], _FOR_SERVERS, "There is no server: nobody asks, and nobody is answered."),
    (
        ["litellm-sdk"],
        ["estimates"],
        "litellm shows a stream as one whole answer, with counts of its own where the provider has none.",
    ),
    (
        ["litellm-sdk"],
        ["a provider that fails", "a stream that breaks", "plugins of one's own"],
        "The call raises what litellm raises, and leaves its record.",
    ),
]

CELLS: dict[tuple[str, str], str] = {
    (home, behaviour): reason for homes, behaviours, reason in _REASONS for home in homes for behaviour in behaviours
}
"""(home, behaviour) -> reason."""

ROWS: dict[str, Check] = {}
"""The check of each behaviour, in their order; `tests.homes.matrix.rows` has filled it once it is imported."""


def behaviour(name: str, instead: Mapping[str, Check] = MappingProxyType({})) -> Callable[[Check], Check]:
    """The check of one row. In a cell with a reason the check of its home in `instead` says what happens there."""

    def row(check: Check) -> Check:
        @functools.wraps(check)
        def run(home: Home) -> None:
            reason = CELLS.get((home.name, name))
            if reason is None:
                check(home)
            elif home.name in instead:
                instead[home.name](home)
            else:
                pytest.skip(reason)

        ROWS[name] = run
        return run

    return row


def expected_table(rows: Iterable[str]) -> dict[tuple[str, str], set[str]]:
    """(behaviour, column) -> "yes" where some home of the column has it, and the reasons of those that have not."""
    return {
        (name, column): {CELLS.get((home, name), "yes") for home in homes}
        for name in rows
        for column, homes in GROUPS.items()
    }


def written_table(section: str) -> dict[tuple[str, str], set[str]]:
    """The same from the Markdown of that page: a table whose cells say `yes` or the numbers of a list below it."""
    lines = [line.strip("|") for line in section.splitlines() if line.startswith("|")]
    columns, _, *body = [[cell.strip() for cell in line.split("|")] for line in lines]
    reasons = dict(re.findall(r"^(\d+)\. (.+)$", section, re.MULTILINE))
    return {
        (row[0], column): {reasons.get(mark, mark) for mark in cell.split(", ")}
        for row in body
        for column, cell in zip(columns[1:], row[1:], strict=True)
    }
