"""Values from the environment: `${NAME}`, also inside a longer text, and LiteLLM's `os.environ/NAME` as a whole one.

Each without its final newline, see `core/final_newline.py`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from crplugins.core.final_newline import without_final_newline
from crplugins.settings.errors import KeyPath, Problem, did_you_mean, format_path

LITELLM_PREFIX: Final = "os.environ/"
_REFERENCE: Final = re.compile(r"\$(\$?)\{([^}]*)\}")
_ALMOST: Final = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*|\$\([A-Za-z_][A-Za-z0-9_]*\)|\$env:.*|os\.environ[.:([].*")
_QUOTES: Final = "\"'"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Expansion:
    """Writes values of the environment into a configuration. `$${NAME}` stands for the text `${NAME}`.

    What is missing goes to `problems`; its value stays as it was. A text that another program would take for a variable
    (`$NAME`, `os.environ["NAME"]`) goes to `warnings`, and stays too: it may be a password. So does a value in
    quotation marks, which `docker run --env-file` does not take off.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self._environ = environ

    def expand(self, value: Any, path: KeyPath = ()) -> Any:
        """`value` with every text in it expanded; mappings and lists are copied."""
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, Mapping):
            return {key: self.expand(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.expand(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def _text(self, text: str, path: KeyPath) -> str:
        if "$" not in text and not text.startswith("os.environ"):  # nearly every text
            return text
        if text.startswith(LITELLM_PREFIX):
            return self._lookup(text.removeprefix(LITELLM_PREFIX), text, path)
        if _ALMOST.fullmatch(text) is not None:
            self.warnings.append(
                f"{format_path(path)} is taken as it stands; a variable of the environment is ${{NAME}}"
            )
        return _REFERENCE.sub(lambda match: self._reference(match, path), text)

    def _reference(self, match: re.Match[str], path: KeyPath) -> str:
        if match[1]:
            return match[0][1:]
        return self._lookup(match[2], match[0], path)

    def _lookup(self, name: str, fallback: str, path: KeyPath) -> str:
        if _NAME.fullmatch(name) is None:
            self.problems.append(Problem(path, "not the name of an environment variable; there is only ${NAME}"))
            return fallback
        if name not in self._environ:
            hint = did_you_mean(name, self._environ)
            self.problems.append(Problem(path, f"the environment variable {name} is not set{hint}"))
            return fallback
        value = without_final_newline(self._environ.get(name, fallback))
        if len(value) > 1 and value[0] == value[-1] and value[0] in _QUOTES:
            self.warnings.append(
                f"{format_path(path)} is taken with the quotation marks that stand around it in the environment "
                f"variable {name}, as `docker run --env-file` has them"
            )
        return value
