"""Supervisor: the worker processes of `crplugins serve --workers N`, which serve by one configuration at any time.

At a reload each of them first opens what the new configuration needs. Only when all have, they are told to serve by it;
if one cannot, none does.

What fails here stops no worker: it is logged, and tried again. If the supervisor itself cannot go on, all workers end
in order; if it is killed, they see it and do the same (`worker.py`), so that nobody holds the port.
"""

import copy
import logging
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Final

from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from crplugins.cli.drain import DrainingConfig
from crplugins.cli.signals import Hangups
from crplugins.cli.start import Start
from crplugins.cli.watch import FileWatch
from crplugins.cli.worker import Conclude, Concluded, Prepare, Ready, ReloadAnswer, ReloadAsked, Worker
from crplugins.homes.gateway.reloading import LoadedAs, Loads, Reloaded, log, problems_of

RELOAD_SECONDS: Final = 120.0
"""How long all workers may take to open what a configuration needs: litellm's import alone may take ten."""

CONCLUDED_SECONDS: Final = 5.0
"""For a worker to serve by a configuration that it has open: it takes milliseconds, and one that hangs keeps nobody."""

PAUSE_SECONDS: Final = 10.0
"""Until a worker is started again that could not start: a start takes seconds of a CPU."""

LOG_SECONDS: Final = 10.0
"""Between two lines about what fails again and again."""

logger = logging.getLogger("crplugins.config")


class WorkerProcess(Process):
    """One worker.

    Attributes:
        channel: the supervisor's end of the pipe to it.
        has_served: whether it said so when it was last asked. One that ends before could not start, whatever ended it.
    """

    def __init__(self, config: DrainingConfig, sockets: list[socket.socket], start: Start, loaded: LoadedAs) -> None:
        self.channel, self._theirs = Pipe()
        self.has_served = False
        worker = Worker(start, self._theirs, loaded)
        own = copy.copy(config)
        own.app, own.serving, own.log = worker, worker.serving, None
        super().__init__(own, sockets)

    def start(self) -> None:
        with _blocked(signal.SIGHUP):  # in the new process too, until it can deal with one
            super().start()
        self._theirs.close()
        self.child_conn.close()  # else one that dies while it is asked whether it lives is waited for until the timeout

    def _healthcheck(self, timeout: float) -> bool | None:
        started = super()._healthcheck(timeout)
        self.has_served = self.has_served or started is True
        return started

    def always_pong(self) -> None:
        with suppress(EOFError, OSError):  # the supervisor is gone, see worker.py
            super().always_pong()

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name not in ("channel", "_theirs")}


class Supervisor(Multiprocess):
    """uvicorn's supervisor, with a pipe to each worker.

    Attributes:
        failed: all have ended because one could not start, and no other served.
    """

    config: DrainingConfig
    processes: list[WorkerProcess]  # type: ignore[assignment]

    def __init__(
        self, config: DrainingConfig, sockets: list[socket.socket], start: Start, hangups: Hangups, *, watch: bool
    ) -> None:
        super().__init__(config, sockets)
        self._watches = watch
        self._watch: Final = None if start.file is None else FileWatch(start.file)
        hangups.listen(lambda: self.signal_queue.append(signal.SIGHUP))
        self._start = start
        self._loads: Final = Loads()
        self._number = 0
        self._asks: list[tuple[WorkerProcess, ReloadAsked]] = []
        self._failed_at: dict[int, float] = {}
        self._log_at = float("-inf")
        self.failed = False

    def run(self) -> None:
        """Until a signal says so, or no worker can start. Raises what it cannot go on with, when all have ended."""
        try:
            super().run()
        except BaseException:
            logger.exception("the workers cannot be looked after any more, and end")
            self.terminate_all()
            self.join_all()
            raise

    def init_processes(self) -> None:
        for _ in range(self.processes_num):  # one by one, so that those are known that have started
            self.processes.append(self._started())

    def terminate_all(self) -> None:
        self.config.ending.tell()
        for process in self.processes:
            with suppress(OSError):  # it is gone already
                process.terminate()

    def handle_signals(self) -> None:
        while self.signal_queue.count(signal.SIGHUP) > 1:  # the file is read once for all that have come until now
            self.signal_queue.remove(signal.SIGHUP)
        with self._going_on("a signal could not be acted on"):
            super().handle_signals()

    def keep_subprocess_alive(self) -> None:
        """Called twice a second."""
        with self._going_on("what the workers ask could not be done"):
            self._do_what_is_asked()
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            with self._going_on("a worker could not be replaced, and its place is empty for a while"):
                self._look_after(index, process)

    def _do_what_is_asked(self) -> None:
        self._listen(0)
        if self._asks:
            asks, self._asks = self._asks, []
            reloaded = self._reload(asks[0][1].why)
            for process, ask in asks:
                if ask.number is not None:
                    _send(process, ReloadAnswer(ask.number, reloaded))
        if self._watch is not None and self._watch.changed() and self._watches:
            self._reload(f"{self._watch.file} has changed")

    def _look_after(self, index: int, process: WorkerProcess) -> None:
        """Another takes the place of one that is dead; after a pause if it could not start."""
        seconds, now = self.config.timeout_worker_healthcheck, time.monotonic()
        if process.is_alive(timeout=seconds):
            return
        process.kill()
        process.join()
        how = _how_it_ended(process.exitcode)
        if not process.has_served:
            if index not in self._failed_at:
                if not any(other.is_ready(timeout=seconds) for other in self.processes if other is not process):
                    logger.error("worker %s could not start%s, and the others end", process.pid, how)
                    self.failed = True
                    self.should_exit.set()  # it would fail in the same way again
                    return
                logger.error("worker %s could not start%s, and is started again; the others serve", process.pid, how)
                self._failed_at[index] = now
            if now < self._failed_at[index] + PAUSE_SECONDS:
                return
            del self._failed_at[index]
        self.processes[index] = self._started()
        if process.has_served:
            logger.error("worker %s has died%s, and another takes its place", process.pid, how)

    @contextmanager
    def _going_on(self, what: str) -> Iterator[None]:
        """Whatever fails within is logged, and does not end the supervisor: it is tried again in half a second."""
        try:
            yield
        except Exception:
            if time.monotonic() >= self._log_at:
                self._log_at = time.monotonic() + LOG_SECONDS
                logger.exception("%s", what)

    def handle_hup(self) -> None:
        self._reload("SIGHUP")

    def handle_ttin(self) -> None:
        self.processes_num += 1
        self.processes.append(self._started())

    def _started(self) -> WorkerProcess:
        process = WorkerProcess(self.config, self.sockets, self._start, self._loads.as_they_are())
        process.start()
        return process

    def _reload(self, why: str) -> Reloaded:
        """In all workers, or in none."""
        self._number += 1
        try:
            start = self._start.with_text(self._start.file_text())
            config = start.read()
            reloaded = self._prepared(start.text)
            if not reloaded.problems:
                self.config.configure(config)
                self._start, self._watches = start, config.server.watch  # also for a worker that has died meanwhile
        except Exception as error:
            reloaded = Reloaded(problems=problems_of(error))
        conclude = Conclude(self._number, reloaded)  # before anything else that could fail: they have it open, and wait
        told = [process for process in self.processes if _send(process, conclude)]
        if not reloaded.problems:
            with self._going_on("whether all workers have followed is not known"):
                self._wait_for_all(told)
        self._loads.note(reloaded)
        log(reloaded, why)
        if reloaded.problems:
            self._start.restore()
        return reloaded

    def _prepared(self, text: str | None) -> Reloaded:
        """What all workers say to it; the first that finds a problem decides."""
        waiting = [process for process in self.processes if _send(process, Prepare(self._number, text))]
        until, first = time.monotonic() + RELOAD_SECONDS, Reloaded()
        while waiting:
            if time.monotonic() > until:
                return Reloaded(problems=[f"worker {waiting[0].pid} was not ready within {RELOAD_SECONDS:g} seconds"])
            if signal.SIGTERM in self.signal_queue or signal.SIGINT in self.signal_queue:
                return Reloaded(problems=["the gateway is ending"])
            for process, ready in self._listen(0.1):
                if isinstance(ready, Ready) and ready.number == self._number and process in waiting:
                    waiting.remove(process)
                    first = ready.reloaded
                    if first.problems:
                        return first
            waiting = [process for process in waiting if process.process.is_alive()]
        return first

    def _wait_for_all(self, told: Sequence[WorkerProcess]) -> None:
        """Until they serve by what is concluded: who is answered that it counts may ask any of them next."""
        waiting, until = list(told), time.monotonic() + CONCLUDED_SECONDS
        while waiting and time.monotonic() < until:
            for process, said in self._listen(0.1):
                if said == Concluded(self._number) and process in waiting:
                    waiting.remove(process)
            waiting = [process for process in waiting if process.process.is_alive()]

    def _listen(self, seconds: float) -> list[tuple[WorkerProcess, Ready | Concluded]]:
        """What workers have said that are ready, or have concluded; what they ask is kept."""
        by_channel = {process.channel: process for process in self.processes if not process.channel.closed}
        said = []
        for channel in wait(list(by_channel), seconds):
            assert isinstance(channel, Connection), "one of those above"
            process = by_channel[channel]
            try:
                message = channel.recv()
            except (EOFError, OSError):  # it has died; who looks after the processes will see it
                channel.close()
                continue
            if isinstance(message, ReloadAsked):
                self._asks.append((process, message))
            else:
                said.append((process, message))
        return said


def _how_it_ended(exitcode: int | None) -> str:
    """In words, where the worker has not said itself why it could not start: there may have been no memory for it."""
    if exitcode is None or exitcode == STARTUP_FAILURE:
        return ""
    return f" (exit code {exitcode})" if exitcode >= 0 else f" (killed by {signal.Signals(-exitcode).name})"


def _send(process: WorkerProcess, message: Prepare | Conclude | ReloadAnswer) -> bool:
    """Whether the worker lives, as far as is known."""
    with suppress(OSError, ValueError):
        process.channel.send(message)
        return True
    return False


@contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
