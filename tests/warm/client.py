"""What `subprocess` starts in the place of a Python: it has the server become the command, and ends as that one does.

`python -I -S client.py SOCKET ARGUMENT...`, with the arguments of `python` itself: `-m module`, `-c code` or a file.
A signal goes on to the command; if this process is killed, so is the command.
"""

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path


def _pass_on(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended, and its exit code is on its way
        os.kill(pid, number)


def main() -> None:
    order = {"arguments": sys.argv[2:], "folder": str(Path.cwd()), "environ": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(sys.argv[1])
        socket.send_fds(server, [b"!"], [0, 1, 2])
        with server.makefile("rw") as lines:
            lines.write(json.dumps(order) + "\n")
            lines.flush()
            pid = int(lines.readline())
            for number in (
                signal.SIGTERM,
                signal.SIGINT,
                signal.SIGHUP,
                signal.SIGQUIT,
                signal.SIGUSR1,
                signal.SIGUSR2,
            ):
                signal.signal(number, lambda number, _: _pass_on(pid, number))
            code = int(lines.readline())
    if code < 0:
        with contextlib.suppress(OSError):  # the end by SIGKILL is nobody's to choose
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
