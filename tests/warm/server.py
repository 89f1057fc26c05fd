"""`python server.py SOCKET OWNER MODULE...` imports the modules, and then becomes whatever a client asks for, as often as
asked. It ends with the process OWNER.

For each command there are two forks: a keeper, which waits for the end of the command and reports it, and the command.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import types
from pathlib import Path
from typing import Any


def main() -> None:
    address, owner, *modules = sys.argv[1:]
    sys.path[0] = str(Path.cwd())  # that of the checkout, not this file's
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(100)
        print("listening", flush=True)
        owner_ended = os.pidfd_open(int(owner))
        for module in modules:
            with contextlib.suppress(ImportError):  # not installed; the command says so
                importlib.import_module(module)
        gc.collect()
        gc.freeze()  # the collector of a command does not walk through what is here, nor copies it
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers that have ended leave nothing to wait for
        order = _next_order(listener, owner_ended)
    _become(order)


def _next_order(listener: socket.socket, owner_ended: int) -> dict[str, Any]:
    """Returns in each command; the server itself ends with its owner."""
    while owner_ended not in select.select([owner_ended, listener], [], [])[0]:
        client, _ = listener.accept()
        with client:
            if os.fork() == 0:
                listener.close()
                os.close(owner_ended)
                return _kept(client)
    shutil.rmtree(Path(listener.getsockname()).parent)
    os._exit(0)


def _kept(client: socket.socket) -> dict[str, Any]:
    """Returns in the command, whose keeper never does."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is started deaf to it
    _, files, *_ = socket.recv_fds(client, 1, 3)
    with client.makefile("r") as lines:
        order: dict[str, Any] = json.loads(lines.readline())
    pid = os.fork()
    if pid == 0:
        client.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        return order
    for file in (0, 1, 2, *files):
        os.close(file)  # who reads from the command sees the end of it
    client.sendall(b"%d\n" % pid)
    ended = os.pidfd_open(pid)
    if ended not in select.select([ended, client], [], [])[0]:  # the client was killed
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        client.sendall(b"%d\n" % code)
    os._exit(0)


def _become(order: dict[str, Any]) -> None:
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environ"])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
    first, *arguments = order["arguments"][
        order["arguments"][0] == "-u" :
    ]  # xdist's, which writes to the files themselves
    if first in ("-m", "-c"):
        what, *arguments = arguments
        sys.path[:1] = [order["folder"] if first == "-m" else "", *paths]
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
