"""The files that are generated, as text."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.source.keys import keys
from grafana.source.overview import overview
from grafana.source.reference import metrics_reference
from grafana.source.rule_files import alert_rules, recording_rules, rule_tests

FOLDER: Final = Path(__file__).parents[1]


def generated() -> Iterator[tuple[str, str]]:
    """Path below `grafana/` and content."""
    boards = {"overview": _json(overview()), "keys": _json(keys())}
    for name, text in boards.items():
        yield f"dashboards/{name}.json", text
    yield "rules/recording.yaml", recording_rules()
    yield "rules/alerts.yaml", alert_rules()
    yield "rules/tests/rules.yaml", rule_tests()
    yield "METRICS.md", metrics_reference({name.title(): json.loads(text) for name, text in boards.items()})


def _json(board: object) -> str:
    return json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
