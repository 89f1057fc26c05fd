"""The JSON schema of what sinks publish, for consumers.

python -m crplugins.sinks.json_schema             # writes crplugins/sinks/usage-record-1.schema.json
python -m crplugins.sinks.json_schema --check     # exit code 1 if the file is not what would be written
"""

import argparse
import json
from pathlib import Path
from typing import Any, Final

import msgspec

from crplugins.sinks.message import SCHEMA, PublishedRecord

FILE: Final = Path(__file__).parent / "usage-record-1.schema.json"


def schema() -> dict[str, Any]:
    """The whole document."""
    document = msgspec.json.schema(PublishedRecord)
    found: dict[str, Any] = document["$defs"].pop("PublishedRecord")
    assert not document["$defs"], "everything stands in the record itself"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": SCHEMA}


def text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=schema.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file is not up to date")
    if parser.parse_args().check:
        return int(FILE.read_text("utf-8") != text())
    FILE.write_text(text(), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
