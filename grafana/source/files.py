"""The files that are generated, as text."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.source.keys import keys
from grafana.source.overview import overview

FOLDER: Final = Path(__file__).parents[1]


def generated() -> Iterator[tuple[str, str]]:
    """Path below `grafana/` and content."""
    yield "dashboards/overview.json", _json(overview())
    yield "dashboards/keys.json", _json(keys())


def _json(board: object) -> str:
    return json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
