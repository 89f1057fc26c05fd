"""One name, one thing: a class of the package is called as no other is.

`crplugins/schema` describes OpenAI's wire, in OpenAI's names.
"""

import ast
from collections import defaultdict
from pathlib import Path

import crplugins

PACKAGE = Path(crplugins.__file__).parent


def test_no_two_classes_share_a_name() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        if PACKAGE / "schema" in file.parents:
            continue
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(file.relative_to(PACKAGE)))
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}
