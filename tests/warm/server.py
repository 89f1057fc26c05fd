"""`python server.py SOCKET OWNER MODULE...` imports the modules, and then becomes whatever a client asks for, as often as
asked. It ends with the process OWNER.

Each command is a fork of it. It tells the client the process, and then how that has ended.
"""

import atexit
import contextlib
import gc
import importlib
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import types
from pathlib import Path
from typing import NamedTuple


class Order(NamedTuple):
    """What a command is, as the arguments, the folder and the environment of its client say."""

    folder: str
    arguments: list[str]
    environ: dict[bytes, bytes]


def main() -> None:
    address, owner, *modules = sys.argv[1:]
    sys.path[0] = str(Path.cwd())  # that of the checkout, not this file's
    loaded: list[str] = []
    atexit.register(lambda: [sys.modules.pop(name, None) for name in loaded])  # the first of all, and so the last
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(100)
        print("listening", flush=True)
        for module in modules:
            with contextlib.suppress(ImportError):  # not installed; the command says so
                importlib.import_module(module)
        gc.collect()
        loaded += _stay_loaded()
        gc.freeze()  # the collector of a command does not walk through what is here, nor copies it
        order = _Commands(listener, int(owner)).next_order()
    _become(order)


def _stay_loaded() -> set[str]:
    """When a command ends, what has been loaded here is not taken apart.

    Python empties each module in `sys.modules` then, and a fork copies the memory of all that it touches: that took
    longer than all else that a short command does. This list is a cycle, and no collector looks at what is frozen.
    """
    held: list[object] = list(sys.modules.values())
    held.append(held)
    return set(sys.modules) - {"builtins", "sys", "__main__"}


class _Commands:
    """Those that run, each with the client that has asked for it."""

    def __init__(self, listener: socket.socket, owner: int) -> None:
        self._listener = listener
        self._owner = os.pidfd_open(owner)
        self._poll = select.poll()
        self._clients: dict[int, tuple[int, socket.socket]] = {}
        """By the file that tells the end of a command: its process, and the client."""

    def next_order(self) -> Order:
        """Returns in each command; the server itself ends with its owner."""
        for file in (self._owner, self._listener.fileno()):
            self._poll.register(file, select.POLLIN)
        while True:
            for file, _ in self._poll.poll():
                if file == self._owner:
                    shutil.rmtree(Path(self._listener.getsockname()).parent)
                    os._exit(0)
                elif file == self._listener.fileno():
                    client, _ = self._listener.accept()
                    if (pid := os.fork()) == 0:
                        return self._received(client)
                    self._started(pid, client)
                elif file in self._clients:
                    self._ended(file)
                else:
                    self._given_up(file)

    def _received(self, client: socket.socket) -> Order:
        """In the command, which has no file of the server's."""
        for ended, (_, other) in self._clients.items():
            os.close(ended)
            other.close()
        os.close(self._owner)
        self._listener.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is started deaf to it
        with client:
            _, files, *_ = socket.recv_fds(client, 1, 3)
            with client.makefile("rb") as order:
                folder, count, *words = order.read(int(order.readline())).split(b"\0")
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        variables = dict(each.split(b"=", 1) for each in words[int(count) :])
        return Order(os.fsdecode(folder), [os.fsdecode(each) for each in words[: int(count)]], variables)

    def _started(self, pid: int, client: socket.socket) -> None:
        ended = os.pidfd_open(pid)
        self._clients[ended] = pid, client
        self._poll.register(ended, select.POLLIN)
        self._poll.register(client, select.POLLHUP)
        with contextlib.suppress(OSError):  # it was killed meanwhile
            client.sendall(b"%d\n" % pid)

    def _ended(self, file: int) -> None:
        pid, client = self._clients.pop(file)
        self._poll.unregister(file)
        os.close(file)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with client, contextlib.suppress(OSError):
            with contextlib.suppress(KeyError):  # it was killed before, and nobody listens to it
                self._poll.unregister(client)
            client.sendall(b"%d\n" % code)

    def _given_up(self, file: int) -> None:
        """The client was killed, and so is its command."""
        for pid, client in self._clients.values():
            if client.fileno() == file:
                self._poll.unregister(file)
                os.kill(pid, signal.SIGKILL)


def _become(order: Order) -> None:
    os.chdir(order.folder)
    os.environ.clear()
    os.environb.update(order.environ)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
    first, *arguments = order.arguments[order.arguments[0] == "-u" :]  # xdist's, which writes to the files themselves
    if first in ("-m", "-c"):
        what, *arguments = arguments
        sys.path[:1] = [order.folder if first == "-m" else "", *paths]
    else:
        what = first
        sys.path[:1] = [str(Path(what).parent), *paths]
    sys.argv = [what if first != "-c" else "-c", *arguments]
    if first == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.modules["__main__"] = types.ModuleType("__main__")  # not this file, which multiprocessing would run again
        exec(compile(what, "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        runpy.run_path(what, run_name="__main__")


main()
