"""How the command fails: 2 for usage and configuration, before anything listens, with sentences on stderr."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_serve import UPSTREAM
from tests.warm import INSTALLED

COMMANDS = [("check",), ("check", "--json"), ("serve", "--port", "0"), ("serve", "--port", "0", "--workers", "2")]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_configuration_error_ends_with_2_and_its_sentences_alone(run, tmp_path, command):
    (tmp_path / "gw.yaml").write_text("server:\n  prot: 1\nkeys:\n  - {id: a, secret: [sk-topsecret]}\n")
    done = run(*command, "--config", "gw.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "gw.yaml, line 2: server.prot: unknown key, did you mean 'port'?\n"
        "gw.yaml, line 4: keys[0].secret: must be text, not a list\n"
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_place_next_to_no_plugin_is_a_configuration_error(run, tmp_path, command):
    (tmp_path / "gw.yaml").write_text("plugins:\n  - {use: crplugins.core.plugin.Plugin, after: Auht}\n")
    done = run(*command, "--config", "gw.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gw.yaml, line 2: plugins[0].after: there is no plugin 'Auht', did you mean 'Auth'?\n"


def test_a_model_that_no_handler_can_serve_is_a_configuration_error_with_its_line(run, tmp_path):
    (tmp_path / "gw.yaml").write_text("model_list:\n  - model_name: m\n    litellm_params: {model: hosted_vllm/m}\n")
    done = run("serve", "--port", 0, "--config", "gw.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gw.yaml, line 2: model_list[0]: model 'm': 'hosted_vllm/m' needs an api_base\n"


def test_a_missing_file_is_a_configuration_error_wherever_its_name_came_from(run):
    for done in (run("check", "--config", "no.yaml"), run("check", CRPLUGINS_CONFIG="no.yaml")):
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "no.yaml: there is no such file\n")


@pytest.mark.parametrize("command", ["check", "serve", "keys"])
def test_a_symlink_to_itself_is_a_configuration_error(run, tmp_path, command):
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    done = run(command, *["list"] * (command == "keys"), "--config", "loop.yaml", cwd=tmp_path)
    said = "loop.yaml: cannot be read (Too many levels of symbolic links)\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "--prot", "1"),
        ("serve", "--port", "70000"),
        ("serve", "--workers", "0"),
        ("serve", "--workers", "100000"),
        ("check", "--litellm", "config.yaml", "--config", "gateway.yaml"),
        ("check", "--litellm", "config.yaml", "--online"),
        ("sevre",),
    ],
)
def test_wrong_usage_ends_with_2(run, arguments):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: crplugins")


def test_an_address_that_is_none_of_this_machines_is_refused_with_1(run):
    done = run("serve", "--host", "192.0.2.1", "--port", 0)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "cannot listen on port 0 of 192.0.2.1: Cannot assign requested address\n"


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_a_host_that_is_no_name_is_refused_with_1(run, host):
    done = run("serve", "--host", host, "--port", 0)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"cannot listen on {host}: no name of a host has a part that is empty or so long\n"


@pytest.mark.parametrize("kind", ["a folder", "a file"])
def test_a_socket_in_the_place_of_something_else_is_refused_with_1(run, tmp_path, kind):
    path = tmp_path / "taken"
    path.mkdir() if kind == "a folder" else path.write_text("kept")
    done = run("serve", "--uds", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"cannot listen on {path}: something else than a socket is there\n"
    assert path.exists()


@pytest.mark.parametrize("arguments", [("--version",), ("check", "--config", "no.yaml")], ids=" ".join)
def test_the_command_as_it_is_installed_says_the_same(run, environ, tmp_path, arguments):
    """Those of the other tests begin with their imports done."""
    done = subprocess.run(
        [INSTALLED, *arguments], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    other = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (other.returncode, other.stdout, other.stderr)


def test_the_version_and_the_help_are_printed(run):
    assert run("--version").stdout == "crplugins 0.1.0\n"
    shown = run("--help")
    assert shown.returncode == 0
    assert "serve" in shown.stdout
    assert "check" in shown.stdout
    assert "CRPLUGINS_CONFIG" in run("serve", "--help").stdout


@pytest.mark.parametrize("missing", ["typer", "uvicorn"])
def test_without_the_extra_the_command_reports_what_to_install(missing):
    code = f"import sys; sys.modules['{missing}'] = None; from crplugins.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"crplugins needs {missing}. Run: pip install 'crplugins[gateway]', or 'crplugins[slim]', which is the same "
        "without litellm\n"
    )


def test_a_plugin_that_does_not_start_ends_it_with_1(run, tmp_path):
    (tmp_path / "own_plugin_of_exit.py").write_text(
        "from crplugins.core.plugin import Plugin\n\n\n"
        "class Mine(Plugin):\n"
        "    async def __aenter__(self):\n"
        "        raise OSError('no database')\n"
    )
    (tmp_path / "gateway.yaml").write_text(f"{UPSTREAM}plugins: [own_plugin_of_exit.Mine]\n")
    for workers in (1, 2):
        done = run("serve", "--port", 0, "--workers", workers, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert "no database" in done.stderr
        assert done.stderr.endswith("the gateway did not start\n")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", [("schema",), ("check", "--json"), ("version",), ("--help",), ("--version",)], ids=" ".join
)
def test_what_cannot_be_written_to_a_full_disk_is_told_in_a_sentence(tmp_path, command):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([INSTALLED, *command], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "what the command prints cannot be written: No space left on device\n"
