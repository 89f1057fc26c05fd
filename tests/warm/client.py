"""What `subprocess` starts in the place of a Python: it has the server become the command, and ends as that one does.

`python -I -S client.py SOCKET ARGUMENT...`, with the arguments of `python` itself: `-m module`, `-c code` or a file.
A signal goes on to the command; if this process is killed, so is the command.

It imports what is compiled into Python: `os`, `signal`, `socket` and `json` would be two thirds of its work.
"""

import _signal
import _socket
import posix
import sys

_PASSED_ON = (
    _signal.SIGTERM,
    _signal.SIGINT,
    _signal.SIGHUP,
    _signal.SIGQUIT,
    _signal.SIGUSR1,
    _signal.SIGUSR2,
)


def _pass_on(pid: int, number: int) -> None:
    try:  # noqa: SIM105  # contextlib is not imported
        posix.kill(pid, number)
    except ProcessLookupError:  # it has ended, and its exit code is on its way
        pass


def _number(server: _socket.socket) -> int:
    """The next of the numbers that the server sends, each on a line."""
    digits = b""
    while not digits.endswith(b"\n"):
        read = server.recv(1)
        if not read:
            raise SystemExit("the server has ended")
        digits += read
    return int(digits)


def main() -> None:
    arguments = [argument.encode(sys.getfilesystemencoding(), "surrogateescape") for argument in sys.argv[2:]]
    variables = [name + b"=" + value for name, value in posix.environ.items()]
    order = b"\0".join([posix.getcwdb(), b"%d" % len(arguments), *arguments, *variables])
    server = _socket.socket(_socket.AF_UNIX)
    server.connect(sys.argv[1])
    files = b"".join(file.to_bytes(4, sys.byteorder) for file in (0, 1, 2))
    server.sendmsg([b"!"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
    server.sendall(b"%d\n" % len(order) + order)
    pid = _number(server)
    for number in _PASSED_ON:
        _signal.signal(number, lambda number, _: _pass_on(pid, number))
    code = _number(server)
    if code < 0:
        if -code != _signal.SIGKILL:  # which is nobody's to choose
            _signal.signal(-code, _signal.SIG_DFL)
        posix.kill(posix.getpid(), -code)
    posix._exit(code)


main()
