"""What `crplugins serve` is started with: a file, variables, a Unix socket, a certificate; and its log."""

import ctypes
import fcntl
import json
import re
import signal
import socket
import ssl
import struct
import subprocess
import threading
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import SECONDS_TO_START, until
from tests.ports import free_port
from tests.tls_setup import self_signed
from tests.warm import INSTALLED

SECRET = "sk-team-a-0123456789"
KEY = {"authorization": f"Bearer {SECRET}"}
QUESTION = {"model": "demo/echo", "messages": [{"role": "user", "content": "hi"}]}


def configuration(folder: Path, *lines: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text("\n".join(('keys: [{id: team-a, secret: "${TEAM_A_KEY}"}]', *lines, "")))
    return file


def test_a_file_and_its_variables_are_read_again_when_they_change(serve, tmp_path):
    """The file is watched; its variables come from another one, behind those of the environment."""
    env_file = tmp_path / ".env"
    env_file.write_text(f"export TEAM_A_KEY='{SECRET}' # the first\nMODEL=of-the-file\n")
    file = configuration(tmp_path, "aliases: {chosen: '${MODEL}'}", "server: {watch: true}")
    with serve(str(file), "--env-file", str(env_file), MODEL="demo/echo") as gateway:

        def status(secret: str, model: str) -> int:
            headers = {"authorization": f"Bearer {secret}"}
            body = {**QUESTION, "model": model}
            return httpx.post(f"{gateway.url}/v1/chat/completions", headers=headers, json=body).status_code

        assert status(SECRET, "chosen") == 200  # what the environment has comes first
        env_file.write_text("TEAM_A_KEY=sk-another-0123456789\n")
        configuration(tmp_path, "aliases: {fast: demo/echo}", "server: {watch: true}")
        until(lambda: status("sk-another-0123456789", "fast") == 200)
        assert status(SECRET, "fast") == 401
        code, _, err = gateway.stop()
    assert code == 0
    assert f"the configuration is reloaded ({file} has changed): " in err
    assert "changed: aliases.fast: demo/echo (new)" in err
    assert SECRET not in err
    assert "sk-another" not in err


@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_where_a_supervisor_has_closed_stdin_stdout_and_stderr(environ, tmp_path, workers):
    """What it opens then, such as a connection, must not be where others think that they write a log."""
    file, port = configuration(tmp_path, "ledger: {url: sqlite:///usage.db}"), free_port()
    closed = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', str(INSTALLED), "serve", str(file), "--port", str(port)]
    command = [*closed, "--workers", str(workers)]
    url = f"http://127.0.0.1:{port}/v1/chat/completions"

    def answers() -> bool:
        try:
            return httpx.post(url, headers=KEY, json=QUESTION).status_code == 200
        except httpx.TransportError:
            return process.poll() is not None

    with subprocess.Popen(command, cwd=tmp_path, env={**environ, "TEAM_A_KEY": SECRET}) as process:
        until(answers)
        assert process.poll() is None
        opened = [Path(f"/proc/{process.pid}/fd/{number}").readlink() for number in range(3)]
        process.terminate()
    assert set(map(str, opened)) == {"/dev/null"}
    assert process.returncode == 0


def without_ipv6() -> None:
    """Gives this process a network of its own with a loopback device and no IPv6, as containers have. Needs root."""
    if ctypes.CDLL(None).unshare(0x40000000) != 0:  # CLONE_NEWNET of sched.h
        raise PermissionError
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        up = struct.pack("16sh", b"lo", 1)  # IFF_UP of if.h
        fcntl.ioctl(device, 0x8914, up)  # SIOCSIFFLAGS of sockios.h
    Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_all_addresses_of_a_machine_without_ipv6_are_those_of_ipv4(environ, tmp_path, workers):
    command = [str(INSTALLED), "serve", "--host", "::", "--port", "0", "--workers", workers]
    try:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environ, text=True, stdout=subprocess.PIPE, preexec_fn=without_ipv6
        )
    except subprocess.SubprocessError:
        pytest.skip("this user may not make a network")
    watchdog = threading.Timer(SECONDS_TO_START, process.kill)
    watchdog.start()
    with process:
        printed = process.stdout.readline()
        watchdog.cancel()
        process.terminate()
    assert "listens on http://localhost:" in printed
    assert process.returncode == 0


def test_workers_in_a_folder_that_is_gone_are_refused_in_one_sentence(environ, tmp_path):
    command = ["sh", "-c", 'rmdir "$PWD"; exec "$0" "$@"', str(INSTALLED), "serve", "--port", "0", "--workers", "2"]
    (tmp_path / "release").mkdir()
    done = subprocess.run(command, cwd=tmp_path / "release", env=environ, text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("\nthe current folder is gone, and no worker can be started in it\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_it_listens_on_a_unix_socket_and_leaves_none_behind(serve, run, tmp_path, workers):
    path = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))  # of a process that is gone
    file = configuration(tmp_path, f"server: {{uds: {path}}}", "admin: {token: admin-token-of-test}")
    with serve(str(file), "--uds", path, "--workers", workers, TEAM_A_KEY=SECRET) as gateway:
        assert "listens on http+unix://" in gateway.printed
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://gateway") as client:
            answer = client.post("/v1/chat/completions", headers=KEY, json=QUESTION)
        assert answer.status_code == 200
        reloaded = run("reload", "--config", str(file), TEAM_A_KEY=SECRET)
        assert (reloaded.returncode, reloaded.stdout) == (0, "nothing has changed\n")
        second = run("serve", str(file), TEAM_A_KEY=SECRET)
        assert (second.returncode, second.stderr) == (1, f"cannot listen on {path}: a process listens there\n")
        assert gateway.stop()[0] == 0
    assert not path.exists()


def test_it_serves_https_and_takes_a_new_certificate_without_a_restart(serve, tmp_path):
    pem = self_signed(tmp_path)
    file = configuration(tmp_path, "log: {level: warning}")
    with serve(str(file), "--ssl-certfile", pem, TEAM_A_KEY=SECRET) as gateway:
        port = int(re.search(r"https://127.0.0.1:(\d+) ", gateway.printed)[1])
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE

        def certificate() -> bytes | None:
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                trusting.wrap_socket(plain, server_hostname="localhost") as secured,
            ):
                return secured.getpeercert(binary_form=True)

        first = certificate()
        with httpx.Client(verify=ssl.create_default_context(cafile=pem)) as client:
            answer = client.post(f"https://localhost:{port}/v1/chat/completions", headers=KEY, json=QUESTION)
        assert answer.status_code == 200
        self_signed(tmp_path)
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: certificate() != first)
        assert gateway.stop()[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ssl-keyfile", "key.pem"), "give --ssl-certfile too"),
        (("--ssl-certfile", "nowhere.pem"), "nowhere.pem cannot be read: No such file or directory"),
        (("--ssl-certfile", "mine.yaml"), "are no certificate and key in PEM that belong together"),
        (("--env-file", "nowhere"), "nowhere: cannot be read (No such file or directory)"),
        (("--config", "mine.yaml"), "the file is given twice"),
        (("--log-level", "loud"), "'loud' is not one of 'debug', 'info', 'warning', 'error'"),
    ],
)
def test_what_cannot_be_started_with_is_refused_in_one_sentence(run, tmp_path, arguments, said):
    configuration(tmp_path)
    done = run("serve", "mine.yaml", *arguments, cwd=tmp_path, TEAM_A_KEY=SECRET)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"A=b\0c\n", "a NUL character, which no variable can have"), (b"A=\xff\n", "is not UTF-8 text")],
)
def test_a_file_of_variables_that_no_environment_can_have_is_refused(run, tmp_path, content, said):
    configuration(tmp_path)
    (tmp_path / "e.env").write_bytes(content)
    done = run("serve", "mine.yaml", "--env-file", "e.env", cwd=tmp_path, TEAM_A_KEY=SECRET)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{tmp_path}/e.env: ")
    assert said in done.stderr


def test_each_request_is_a_line_of_the_log_as_text_or_as_json(serve, tmp_path):
    file = configuration(tmp_path)
    with serve(str(file), TEAM_A_KEY=SECRET) as gateway:
        chat = f"{gateway.url}/v1/chat/completions"
        request = httpx.post(chat, headers=KEY, json=QUESTION).headers["x-request-id"]
        configuration(tmp_path, "log: {format: json}")
        gateway.process.send_signal(signal.SIGHUP)
        line = gateway.lines_until("the configuration is reloaded")
        httpx.post(chat, headers=KEY, json=QUESTION)
        err = gateway.stop()[2]
    assert "INFO crplugins.access: 200 ok model='demo/echo' key='team-a' tokens=1+3" in line
    assert request in line
    facts = json.loads(err.splitlines()[-1])
    assert (facts["logger"], facts["status"], facts["key_id"]) == ("crplugins.access", 200, "team-a")


def test_with_a_higher_level_requests_are_no_lines(serve, tmp_path):
    file = configuration(tmp_path)
    with serve(str(file), "--log-level", "warning", TEAM_A_KEY=SECRET) as gateway:
        assert httpx.post(f"{gateway.url}/v1/chat/completions", headers=KEY, json=QUESTION).status_code == 200
        code, _, err = gateway.stop()
    assert (code, "crplugins.access" in err) == (0, False)


def test_the_version_is_said_for_people_and_for_programs(run):
    said = run("version").stdout
    assert said.splitlines()[0] == run("--version").stdout.strip()
    assert json.loads(run("version", "--json").stdout).keys() == {"crplugins", "python", "litellm", "uvicorn"}


def test_a_shell_can_complete_commands(environ, tmp_path):
    done = subprocess.run(
        ["crplugins"],
        env=environ | {"_CRPLUGINS_COMPLETE": "complete_bash", "COMP_WORDS": "crplugins rel", "COMP_CWORD": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split() == ["reload"]
    assert list(tmp_path.iterdir()) == []
