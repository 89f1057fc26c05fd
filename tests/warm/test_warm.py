"""A command in a warm Python is one like any other to whoever starts it."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import until
from tests.warm import PYTHON


def ended(code, *arguments, **options):
    return subprocess.run([*PYTHON.command, "-c", code, *arguments], capture_output=True, check=False, **options)


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_its_exit_code_is_its_own(code):
    assert ended(f"raise SystemExit({code})").returncode == code


def test_its_output_and_its_last_words_come_whole():
    done = ended("import atexit, sys; atexit.register(print, 'last'); print('first'); print('wrong', file=sys.stderr)")
    assert (done.stdout, done.stderr) == (b"first\nlast\n", b"wrong\n")


def test_what_it_has_made_itself_is_finalized_at_its_end():
    done = ended("class Made:\n    def __del__(self): print('gone')\nmade = Made()")
    assert done.stdout == b"gone\n"


def test_what_was_loaded_before_is_not_taken_apart_at_its_end():
    done = ended("import tests.trust\nclass Made:\n    def __del__(self): print('gone')\ntests.trust.made = Made()")
    assert done.stdout == b""


def test_arguments_variables_and_folder_are_those_of_its_client(tmp_path):
    folder = tmp_path / "two\nlines"
    folder.mkdir()
    code = "import os, sys; print([os.fsencode(each) for each in sys.argv[1:]], os.environb, os.getcwdb())"
    variables = {b"PLAIN": b"a=b", b"EMPTY": b"", b"LINES": b"a\nb", b"BYTES": b"\xff"}
    done = ended(code, b"\xfe", "", "a\nb", cwd=folder, env=variables)
    assert repr([b"\xfe", b"", b"a\nb"]).encode() in done.stdout
    assert os.fsencode(repr(os.fsencode(folder))) in done.stdout
    assert all(repr({name: value}).strip("{}").encode() in done.stdout for name, value in variables.items())


def test_it_has_no_file_but_those_it_was_given():
    code = "import os; print(sorted(int(each) for each in os.listdir('/proc/self/fd'))[:-1])"
    with subprocess.Popen([*PYTHON.command, "-c", "input()"], stdin=subprocess.PIPE) as other:
        done = ended(code)
        other.communicate(b"\n")
    assert done.stdout == b"[0, 1, 2]\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_reaches_it_and_its_end_by_one_is_told(number):
    code = "import signal, sys; signal.signal(int(sys.argv[1]), signal.SIG_DFL); print(flush=True); signal.pause()"
    with subprocess.Popen([*PYTHON.command, "-c", code, str(int(number))], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait() == -number


def test_it_is_killed_with_its_client():
    code = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    with subprocess.Popen([*PYTHON.command, "-c", code], stdout=subprocess.PIPE) as process:
        command = int(process.stdout.readline())
        process.kill()
    until(lambda: not Path(f"/proc/{command}").exists())


def test_many_run_at_once_and_each_client_is_told_of_its_own():
    code = "import sys; input(); raise SystemExit(int(sys.argv[1]))"
    processes = [
        subprocess.Popen([*PYTHON.command, "-c", code, str(number)], stdin=subprocess.PIPE) for number in range(20)
    ]
    for process in reversed(processes):
        process.communicate(b"\n")
    assert [process.returncode for process in processes] == list(range(20))
