"""`python -m grafana.source` writes the generated files; `--check` only says which of them are not up to date."""

import sys

from grafana.source.files import FOLDER, generated


def main() -> int:
    """The exit code: 1 if a file was not what it should be."""
    stale = [(path, text) for path, text in generated() if _current(path) != text]
    for path, text in stale:
        sys.stdout.write(f"grafana/{path}\n")
        if "--check" not in sys.argv:
            (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
            (FOLDER / path).write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.stderr.write("not up to date; run: python -m grafana.source\n")
        return 1
    return 0


def _current(path: str) -> str | None:
    file = FOLDER / path
    return file.read_text(encoding="utf-8") if file.exists() else None


if __name__ == "__main__":
    sys.exit(main())
