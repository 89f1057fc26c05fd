"""`crplugins serve` whose configuration changes while it serves: at SIGHUP and by the admin API."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Serving, until
from tests.workers import workers_of

SECRET = "sk-team-a-0123456789"
KEY = {"authorization": f"Bearer {SECRET}"}
OPERATOR = {"authorization": "Bearer admin-token-of-test"}
QUESTION = {"model": "demo/echo", "messages": [{"role": "user", "content": "hi"}]}
CONFIGURATION = """
keys: {file: keys.yaml}
admin: {token: admin-token-of-test}
metrics: {token: null}
ledger: {url: "sqlite:///usage.db", commit_seconds: 0}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    (tmp_path / "keys.yaml").write_text(f"keys: [{{id: team-a, secret: {SECRET}}}]\n")
    return tmp_path


def serves(url: str, model: str) -> set[int]:
    """The statuses of a few requests, each on a connection of its own, so that every worker is met."""
    body = {**QUESTION, "model": model}
    return {httpx.post(f"{url}/v1/chat/completions", headers=KEY, json=body, timeout=30).status_code for _ in range(8)}


def loaded(url: str) -> list[tuple[bool, str | None]]:
    """By each of a few connections: whether it is ready, and what is said of the configuration."""
    answers = [httpx.get(f"{url}/readyz") for _ in range(8)]
    return [(each.is_success, each.json().get("configuration", {}).get("status")) for each in answers]


def test_sighup_reads_the_file_anew_and_a_mistake_in_it_changes_nothing(serve, run, folder):
    file = folder / "gateway.yaml"
    with serve(cwd=folder) as gateway:
        assert serves(gateway.url, "fast") == {404}
        measured = CONFIGURATION.replace("null}", "null, inter_chunk: true}")
        file.write_text(f"{measured}aliases: {{fast: demo/echo}}\n")
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: serves(gateway.url, "fast") == {200})
        file.write_text(f"{CONFIGURATION}aliases: {{fast: demo/echo}}\nserver: {{prot: 1}}\n")
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: loaded(gateway.url)[0] == (True, "reload_refused"))
        assert serves(gateway.url, "fast") == {200}
        wrong = run("reload", "--url", gateway.url, cwd=folder)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert "server.prot: unknown key" in wrong.stderr
        file.write_text(CONFIGURATION.replace("keys.yaml", "nowhere.yaml"))
        refused = run("reload", "--url", gateway.url, cwd=folder)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "the configuration stays as it was\nnowhere.yaml: there is no such file\n" in refused.stderr
        file.write_text(CONFIGURATION)
        done = run("reload", "--url", gateway.url, "--json", cwd=folder)
        assert done.returncode == 0
        assert json.loads(done.stdout)["changes"] == ["metrics.inter_chunk: true -> false", "aliases.fast: removed"]
        assert run("reload", "--url", gateway.url, cwd=folder).stdout == "nothing has changed\n"
        code, _, err = gateway.stop()
    assert code == 0
    assert "WARNING crplugins.config: metrics.inter_chunk has changed, which counts from the next start on" in err
    assert f"the configuration stays as it was (SIGHUP): {file}, line 7: server.prot: unknown key" in err


def test_a_symlink_on_the_way_to_the_file_is_followed_again_as_kubernetes_replaces_one(serve, folder):
    for name, more in (("first", ""), ("second", "aliases: {fast: demo/echo}\n")):
        (folder / name).mkdir()
        (folder / name / "mounted.yaml").write_text(f"{CONFIGURATION}server: {{watch: true}}\n{more}")
    (folder / "data").symlink_to("first")
    (folder / "mounted.yaml").symlink_to("data/mounted.yaml")
    with serve("mounted.yaml", cwd=folder) as gateway:
        assert serves(gateway.url, "fast") == {404}
        (folder / "next").symlink_to("second")
        (folder / "next").rename(folder / "data")
        until(lambda: serves(gateway.url, "fast") == {200})
        (folder / "second" / "mounted.yaml").write_text(f"{CONFIGURATION}server: {{watch: true, prot: 1}}\n")
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: loaded(gateway.url)[0] == (True, "reload_refused"))


def test_watching_begins_with_the_reload_that_turns_it_on_which_is_not_done_twice(serve, folder):
    file = folder / "gateway.yaml"
    with serve(cwd=folder) as gateway:
        file.write_text(f"{CONFIGURATION}server: {{watch: true}}\n")
        gateway.process.send_signal(signal.SIGHUP)
        gateway.lines_until("reloaded (SIGHUP): 1 change")
        time.sleep(2.5)  # longer than a change is waited for to be whole
        file.write_text(f"{CONFIGURATION}server: {{watch: true}}\naliases: {{fast: demo/echo}}\n")
        between = gateway.lines_until("gateway.yaml has changed): 1 change")
        assert "reloaded" not in between
        assert serves(gateway.url, "fast") == {200}
        file.write_text(CONFIGURATION)
        gateway.lines_until("gateway.yaml has changed): 2 changes")
        file.write_text(f"{CONFIGURATION}aliases: {{fast: demo/echo}}\n")
        time.sleep(2.5)
        assert serves(gateway.url, "fast") == {404}


ONE_PROCESS_ALONE = """
from pathlib import Path

from crplugins import Plugin


class OneProcessAlone(Plugin):
    async def __aenter__(self):
        Path("lock").open("x").close()
        return self
"""


def test_all_workers_serve_by_the_new_configuration_or_none_does(environ, folder):
    """The second worker cannot open the plugin. One that dies meanwhile comes back as the others are, whatever the file
    says by then."""
    file = folder / "gateway.yaml"
    (folder / "plugins_of_reload_test.py").write_text(ONE_PROCESS_ALONE)
    with plain(environ, folder, "--workers", "2") as gateway:
        until(lambda: len(workers_of(gateway.process.pid)) == 2)
        file.write_text(f"{CONFIGURATION}aliases: {{fast: demo/echo}}\n")
        answer = httpx.post(f"{gateway.url}/admin/reload", headers=OPERATOR, timeout=60)
        assert (answer.status_code, answer.json()["changes"]) == (200, ["aliases.fast: demo/echo (new)"])
        assert serves(gateway.url, "fast") == {200}
        assert serves(gateway.url, "slow") == {404}
        file.write_text(
            f"{CONFIGURATION}aliases: {{slow: demo/echo}}\nplugins: [plugins_of_reload_test.OneProcessAlone]\n"
        )
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: set(loaded(gateway.url)) == {(True, "reload_refused")})
        assert serves(gateway.url, "slow") == {404}
        assert serves(gateway.url, "fast") == {200}
        before = workers_of(gateway.process.pid)
        os.kill(min(before), signal.SIGKILL)
        until(lambda: len(workers_of(gateway.process.pid) - before) == 1)
        until(lambda: ready_everywhere(gateway.url))
        assert serves(gateway.url, "fast") == {200}
        assert set(loaded(gateway.url)) == {(True, "reload_refused")}
        metric = "crplugins_config_last_reload_successful"
        page = f"{gateway.url}/metrics?name[]={metric}"
        until(lambda: httpx.get(page).text.splitlines()[-1] == f"{metric} 0.0")  # each worker copies it once a second
        code, _, err = gateway.stop()
    assert code == 0
    assert "the configuration stays as it was (SIGHUP): FileExistsError" in err


@contextmanager
def plain(environ: dict[str, str], folder: Path, *arguments: str, **streams: int) -> Iterator[Serving]:
    """The command as a process of its own, whose workers can be found."""
    command = [str(Path(sys.executable).parent / "crplugins"), "serve", "--port", "0", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    with subprocess.Popen(command, cwd=folder, env=environ, text=True, **streams) as process:
        try:
            yield Serving(process, process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_is_full_keeps_no_gateway_from_starting_and_going_on(environ, folder, workers):
    """The one that its log is written to."""
    with Path("/dev/full").open("w") as full, plain(environ, folder, "--workers", str(workers), stderr=full) as gateway:
        until(lambda: ready_everywhere(gateway.url))
        assert serves(gateway.url, "demo/echo") == {200}
        (folder / "gateway.yaml").write_text(f"{CONFIGURATION}aliases: {{fast: demo/echo}}\n")
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: serves(gateway.url, "fast") == {200})
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0


def ready_everywhere(url: str) -> bool:
    """A new worker accepts on the port before it can answer."""
    try:
        return all(ready for ready, _ in loaded(url))
    except httpx.HTTPError:
        return False


def test_under_load_no_reload_drops_a_request_or_cuts_a_stream(serve, folder):
    file = folder / "gateway.yaml"
    statuses: list[int] = []
    ends: set[str] = set()
    over = threading.Event()
    with serve("--workers", 2, cwd=folder) as gateway:
        chat = f"{gateway.url}/v1/chat/completions"

        def ask(*, stream: bool) -> None:
            with httpx.Client(headers=KEY, timeout=60) as client:
                while not over.is_set():
                    answer = client.post(chat, json={**QUESTION, "stream": stream})
                    statuses.append(answer.status_code)
                    if stream:
                        ends.add(answer.text.rstrip().rpartition("\n")[2])

        clients = [threading.Thread(target=ask, kwargs={"stream": bool(number % 2)}) for number in range(4)]
        for client in clients:
            client.start()
        for number in range(6):
            file.write_text(f"{CONFIGURATION}aliases: {{fast-{number}: demo/echo}}\n")
            answer = httpx.post(f"{gateway.url}/admin/reload", headers=OPERATOR, timeout=60)
            assert answer.status_code == 200
        over.set()
        for client in clients:
            client.join()
        counted = httpx.get(f"{gateway.url}/metrics?name[]=crplugins_requests_total").text.splitlines()
        assert sum(float(line.rpartition(" ")[2]) for line in counted if not line.startswith("#")) == len(statuses)
        assert gateway.stop()[0] == 0
    assert set(statuses) == {200}
    assert ends == {"data: [DONE]"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_storm_of_signals_is_a_few_reloads_of_which_the_last_counts(serve, folder, workers):
    """As configuration management sends them. None that waits would find anything else in the file than the next."""
    sent = 300
    with serve("--workers", workers, cwd=folder) as gateway:
        until(lambda: ready_everywhere(gateway.url))
        for number in range(sent):
            if number == sent - 1:
                (folder / "gateway.yaml").write_text(f"{CONFIGURATION}aliases: {{fast: demo/echo}}\n")
            gateway.process.send_signal(signal.SIGHUP)
            time.sleep(0.002)
        until(lambda: serves(gateway.url, "fast") == {200})
        code, _, said = gateway.stop()
    assert (code, "Traceback" in said) == (0, False)
    assert said.count("the configuration is reloaded") < sent / 2


def test_a_terminal_that_closes_ends_the_gateway(environ, folder):
    """It sends SIGHUP too, and nobody is there any more who could end it."""
    ours, theirs = pty.openpty()
    with plain(environ, folder, stdin=theirs, stderr=subprocess.DEVNULL) as gateway:
        os.close(theirs)
        assert "listens" in gateway.printed
        os.close(ours)
        gateway.process.send_signal(signal.SIGHUP)
        assert gateway.process.wait(60) == 0
