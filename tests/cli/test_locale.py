"""The command where the locale is not UTF-8: names and signs that its character set lacks end no command."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).parent / "crplugins"
CONFIGURATION = "aliases: {größe-漢: demo/echo}\n"


@pytest.fixture
def ascii_only(environ: dict[str, str]) -> dict[str, str]:
    """The locale that is on every machine, without what Python does so that it is UTF-8."""
    return environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def test_programs_and_files_are_given_utf_8_whatever_the_locale(ascii_only, tmp_path):
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION, "utf-8")
    schema, check = (
        subprocess.run([COMMAND, name], cwd=tmp_path, env=ascii_only, capture_output=True, timeout=300)
        for name in ("schema", "check")
    )
    assert (schema.returncode, schema.stderr, check.returncode, check.stderr) == (0, b"", 0, b"")
    assert not schema.stdout.isascii()
    assert json.loads(schema.stdout)
    assert "größe-漢" in check.stdout.decode("utf-8")


def test_a_terminal_is_shown_what_it_can_show_with_escapes_for_the_rest(ascii_only, tmp_path):
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION, "utf-8")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [COMMAND, "check"], cwd=tmp_path, env=ascii_only, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 1 << 16):
                shown += part
        except OSError:  # as Linux says the end of a terminal
            pass
        finally:
            os.close(ours)
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
    assert rb"gr\xf6\xdfe-\u6f22" in shown
