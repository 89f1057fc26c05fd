"""`crplugins schema`: the JSON schema of the configuration file, for editors."""

import sys
from importlib.resources import files


def schema() -> None:
    """Print the JSON schema of gateway.yaml.

    An editor completes a file that begins with `# yaml-language-server: $schema=gateway.schema.json` from what this
    printed into that file.
    """
    sys.stdout.write((files("crplugins.config") / "gateway.schema.json").read_text(encoding="utf-8"))
