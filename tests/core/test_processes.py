"""A process that serves its port together with others sees it, where it can be seen."""

import multiprocessing
import subprocess
import sys

import pytest

from crplugins.core.processes import announced_processes, is_one_of_several


@pytest.mark.parametrize(
    ("process", "arguments", "environment", "told"),
    [
        ("MainProcess", ["gunicorn", "app", "-w", "4"], {}, True),
        ("MainProcess", ["gunicorn", "app", "--workers=4"], {}, True),
        ("MainProcess", ["gunicorn", "app"], {"WEB_CONCURRENCY": "3"}, True),
        ("MainProcess", ["gunicorn", "app", "--workers", "1"], {"WEB_CONCURRENCY": "3"}, False),
        ("MainProcess", ["gunicorn", "app", "-w"], {"WEB_CONCURRENCY": "many"}, False),
        ("MainProcess", ["uvicorn", "app:app"], {}, False),
        ("MainProcess", ["gunicorn", "app", "-w4"], {}, True),
        ("MainProcess", ["gunicorn", "app"], {"GUNICORN_CMD_ARGS": "--bind=:80 --workers=4"}, True),
        ("MainProcess", ["gunicorn", "app"], {"GUNICORN_CMD_ARGS": "--name='"}, False),
        ("MainProcess", ["litellm", "--num_workers", "4"], {}, True),
        ("MainProcess", ["vllm", "serve"], {"PROMETHEUS_MULTIPROC_DIR": "/tmp/metrics"}, True),
        ("SpawnProcess-1", ["uvicorn", "app:app", "--workers", "2"], {}, False),
        ("SpawnProcess-2", ["uvicorn", "app:app", "--workers", "2"], {}, True),
        ("SpawnProcess-3", ["uvicorn", "app:app", "--workers", "2"], {}, False),
        ("SpawnProcess-2", ["uvicorn", "app:app", "--reload"], {}, False),
    ],
)
def test_one_worker_of_several_knows_it(process, arguments, environment, told, monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "name", process)
    assert is_one_of_several(arguments, environment) == told


PARENT = """
import socket, subprocess, sys
shared, other = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
child = [sys.executable, "-c", "from crplugins.core.processes import announced_processes, is_one_of_several as f; input(); print(f([], {}))"]
ask = lambda own: subprocess.Popen(child, stdin=-1, stdout=-1, text=True, pass_fds=[own.fileno()])
children = [ask(shared), ask({"same": shared, "another": other}[sys.argv[1]])]
print({children[0].communicate("\\n")[0].strip()})
children[1].communicate("\\n")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("socket", "told"), [("same", "True"), ("another", "False")])
def test_a_process_sees_that_another_has_its_listening_socket(socket, told):
    done = subprocess.run([sys.executable, "-c", PARENT, socket], capture_output=True, text=True, check=True)
    assert told in done.stdout


UNREAD = "import crplugins.core.processes as p; p._listening = lambda: sys.exit('read'); "


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("socket", "told"), [("same", "{''}"), ("another", "{'False'}")])
def test_the_sockets_of_the_machine_are_read_only_where_one_is_shared(socket, told):
    parent = PARENT.replace('"from crplugins', f'"import sys; {UNREAD}from crplugins', 1)
    done = subprocess.run([sys.executable, "-c", parent, socket], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == told


@pytest.mark.parametrize(
    ("arguments", "environment", "processes"),
    [
        (["crplugins", "serve"], {}, 1),
        (["crplugins", "serve", "--workers", "4"], {}, 4),
        (["gunicorn", "-w3", "app"], {"WEB_CONCURRENCY": "8"}, 3),
        (["uvicorn", "app"], {"WEB_CONCURRENCY": "8"}, 8),
        (["uvicorn", "app"], {"WEB_CONCURRENCY": "none"}, 1),
        (["uvicorn", "app"], {"WEB_CONCURRENCY": "0"}, 1),
    ],
)
def test_so_many_processes_are_announced(arguments, environment, processes):
    assert announced_processes(arguments, environment) == processes
