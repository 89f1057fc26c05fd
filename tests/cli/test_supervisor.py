"""Who looks after the workers of `crplugins serve --workers N` fails, is killed, or cannot start another: those that serve
go on, or all of them end in order and leave the port."""

import os
import signal
import socket
import threading
from contextlib import contextmanager
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from uvicorn.config import STARTUP_FAILURE

import crplugins.cli.supervisor
from crplugins.cli.drain import EndOfRun
from crplugins.cli.start import Start
from crplugins.cli.supervisor import Supervisor
from crplugins.cli.worker import Conclude, Concluded, Prepare, Ready, ReloadAnswer, ReloadAsked
from crplugins.homes.gateway.reloading import Reloaded
from tests.cli.conftest import until
from tests.cli.test_serve_reload import KEY, QUESTION, plain, ready_everywhere, serves
from tests.workers import workers_of

CONFIGURATION = """
keys: [{id: team-a, secret: sk-team-a-0123456789}]
"""
UNABLE = """
import os
from pathlib import Path
from crplugins import Plugin

class Unable(Plugin):
    async def __aenter__(self):
        if Path("unable").exists():
            raise OSError(28, "No space left on device")
        Path(f"able-{os.getpid()}").touch()
        return self
"""

KILLED = {
    how: f"""
import os, signal
from crplugins import Plugin

class Killed(Plugin):
    async def __aenter__(self):
        {call}
"""
    for how, call in {"kill": "os.kill(os.getpid(), signal.SIGKILL)", "exit": "os._exit(7)"}.items()
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    return tmp_path


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_workers_whose_supervisor_is_killed_finish_what_runs_and_leave_the_port(environ, folder):
    body = {**QUESTION, "stream": True, "messages": [{"role": "user", "content": "word " * 200}]}
    with plain(environ, folder, "--workers", "2") as gateway:
        until(lambda: len(workers_of(gateway.process.pid)) == 2)
        until(lambda: ready_everywhere(gateway.url))
        workers = workers_of(gateway.process.pid)
        with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", headers=KEY, json=body, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            gateway.process.kill()
            assert list(lines)[-2:] == ["data: [DONE]", ""]
        until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
        assert refused(gateway.port)
        said = gateway.process.stderr.read()
    assert said.count("the process that looks after the workers is gone, and this one ends") == 2
    assert "Traceback" not in said


def test_a_worker_that_cannot_be_started_again_does_not_end_the_others(environ, folder):
    (folder / "gateway.yaml").write_text(f"{CONFIGURATION}plugins: [plugins_of_supervisor_test.Unable]\n")
    (folder / "plugins_of_supervisor_test.py").write_text(UNABLE)
    with plain(environ, folder, "--workers", "2") as gateway:
        until(lambda: len([*folder.glob("able-*")]) == 2)  # the first answers for both, as long as the second starts
        until(lambda: ready_everywhere(gateway.url))
        said: list[str] = []
        threading.Thread(target=lambda: said.extend(gateway.process.stderr), daemon=True).start()
        (folder / "unable").touch()
        before = workers_of(gateway.process.pid)
        os.kill(min(before), signal.SIGKILL)
        until(lambda: any("could not start, and is started again; the others serve" in line for line in said), 300)
        assert serves(gateway.url, "demo/echo") == {200}
        (folder / "unable").unlink()
        until(lambda: len(workers_of(gateway.process.pid) - before) == 1, 300)
        until(lambda: ready_everywhere(gateway.url))
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(300) == 0


@pytest.mark.parametrize(("dies", "said_of_it"), [("kill", " (killed by SIGKILL)"), ("exit", " (exit code 7)")])
def test_workers_that_die_before_they_serve_end_the_supervisor_which_says_what_ended_them(
    environ, folder, dies, said_of_it
):
    """Where a container has no memory for them, the system kills them as soon as they are started."""
    (folder / "gateway.yaml").write_text(f"{CONFIGURATION}plugins: [plugins_of_supervisor_test.Killed]\n")
    (folder / "plugins_of_supervisor_test.py").write_text(KILLED[dies])
    with plain(environ, folder, "--workers", "2") as gateway:
        said = gateway.process.stderr.read()
        assert gateway.process.wait(60) == 1
    assert f"could not start{said_of_it}, and the others end" in said
    assert "another takes its place" not in said


class Fake:
    """A worker as the supervisor sees it, which answers whether it is `ready` and opens what it is asked to."""

    pid = 1
    has_served = True

    def __init__(self, *, alive: bool = True) -> None:
        self.channel, self.theirs = Pipe()
        self.alive, self.exitcode, self.told = alive, None, []
        self.follows = threading.Event()
        self.follows.set()
        self.process = SimpleNamespace(is_alive=lambda: self.alive)
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        while True:
            try:
                message = self.theirs.recv()
            except EOFError:
                return
            self.told.append(message)
            if isinstance(message, Prepare):
                self.theirs.send(Ready(message.number, Reloaded(changes=["a"])))
            elif isinstance(message, Conclude):
                self.follows.wait(30)
                self.theirs.send(Concluded(message.number))

    def is_alive(self, timeout: float) -> bool:
        return self.alive

    is_ready = is_alive

    def kill(self) -> None: ...

    join = terminate = kill


@contextmanager
def supervising(folder: Path, *fakes: Fake):
    before = {number: signal.getsignal(number) for number in (*range(1, 9), *range(10, 16), 28)}
    hangups = SimpleNamespace(listen=lambda reload: None)
    config = SimpleNamespace(
        workers=len(fakes), timeout_worker_healthcheck=1, ending=EndOfRun(), configure=lambda config: None
    )
    try:
        supervisor = Supervisor(config, [], Start(folder / "gateway.yaml"), hangups, watch=False)
        supervisor.processes = [*fakes]
        yield supervisor
    finally:
        for number, handler in before.items():
            if handler is not None and number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, handler)
        for fake in fakes:
            fake.channel.close()


def fails(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "step",
    [
        "_start.file_text",
        "_start.read",
        "_prepared",
        "_listen",
        "config.configure",
        "_loads.note",
        "log",
        "_start.restore",
    ],
)
def test_whatever_fails_at_a_reload_workers_are_told_the_same_and_the_supervisor_goes_on(
    folder, monkeypatch, step, caplog
):
    fakes = Fake(), Fake()
    with supervising(folder, *fakes) as supervisor:
        with monkeypatch.context() as patch:
            name = step.rpartition(".")[2]
            if step.startswith("_start"):
                patch.setattr(Start, name, fails)
                if step == "_start.restore":
                    patch.setattr(Start, "read", fails)
            elif step == "log":
                patch.setattr(crplugins.cli.supervisor, "log", fails)
            else:
                owner = {"config": supervisor.config, "_loads": supervisor._loads}.get(
                    step.partition(".")[0], supervisor
                )
                patch.setattr(owner, name, fails)
            supervisor.signal_queue.append(signal.SIGHUP)
            supervisor.handle_signals()
            supervisor.keep_subprocess_alive()
        until(lambda: all(any(isinstance(each, Conclude) for each in fake.told) for fake in fakes))
        first, second = ([bool(e.reloaded.problems) for e in fake.told if isinstance(e, Conclude)] for fake in fakes)
        assert first == second == [step not in ("_loads.note", "log")]
        supervisor.handle_hup()
        assert supervisor._loads.successful
        assert not supervisor.should_exit.is_set()


def test_who_asked_for_a_reload_is_answered_when_all_workers_serve_by_it(folder):
    """A client that then asks another worker would be served by the configuration before."""
    asks, slow = Fake(), Fake()
    slow.follows.clear()
    with supervising(folder, asks, slow) as supervisor:
        asks.theirs.send(ReloadAsked(1, "POST /admin/reload"))
        looking = threading.Thread(target=supervisor.keep_subprocess_alive)
        looking.start()
        until(lambda: any(isinstance(each, Conclude) for each in slow.told))
        assert not any(isinstance(each, ReloadAnswer) for each in asks.told)
        slow.follows.set()
        looking.join(30)
        until(lambda: [each.number for each in asks.told if isinstance(each, ReloadAnswer)] == [1])


def test_a_worker_for_which_there_is_no_room_is_started_when_there_is(folder, monkeypatch, caplog):
    lives, dead = Fake(), Fake(alive=False)
    with supervising(folder, lives, dead) as supervisor:
        with monkeypatch.context() as patch:
            patch.setattr(supervisor, "_started", fails)
            for _ in range(3):
                supervisor.keep_subprocess_alive()
        assert supervisor.processes == [lives, dead]
        monkeypatch.setattr(supervisor, "_started", Fake)
        supervisor.keep_subprocess_alive()
        assert supervisor.processes[1].alive
        assert not supervisor.should_exit.is_set()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "a worker could not be replaced, and its place is empty for a while",
        "worker 1 has died, and another takes its place",
    ]


def test_one_that_could_not_start_is_started_again_after_a_pause_if_another_serves(folder, monkeypatch):
    lives, dead = Fake(), Fake(alive=False)
    dead.exitcode, dead.has_served = STARTUP_FAILURE, False
    with supervising(folder, lives, dead) as supervisor:
        monkeypatch.setattr(supervisor, "_started", Fake)
        for _ in range(2):
            supervisor.keep_subprocess_alive()
            assert supervisor.processes[1] is dead
        monkeypatch.setattr(crplugins.cli.supervisor, "PAUSE_SECONDS", 0)
        supervisor.keep_subprocess_alive()
        assert supervisor.processes[1].alive
        assert not supervisor.failed
        lives.alive = supervisor.processes[1].alive = False
        lives.exitcode, lives.has_served = STARTUP_FAILURE, False
        supervisor.keep_subprocess_alive()
        assert supervisor.failed
        assert supervisor.should_exit.is_set()


def test_what_the_supervisor_cannot_go_on_with_ends_all_workers_in_order(folder, monkeypatch):
    fakes = Fake(), Fake()
    ended = []
    for fake in fakes:
        fake.terminate = lambda fake=fake: ended.append(fake) or fails()
        fake.join = lambda fake=fake: ended.append(fake)
    with supervising(folder, *fakes) as supervisor:
        monkeypatch.setattr(supervisor, "init_processes", fails)
        with pytest.raises(OSError, match="No space"):
            supervisor.run()
        assert ended == [*fakes, *fakes]
        assert supervisor.config.ending.is_told()
