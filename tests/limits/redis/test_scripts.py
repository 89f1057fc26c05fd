"""The Lua scripts belong to the package, wherever it is installed."""

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from zipfile import ZipFile

import crplugins
from crplugins.limits.redis import client

SCRIPTS = [value for value in vars(client).values() if isinstance(value, client.LuaScript)]
LUA = {
    file.name: file.read_text("utf-8") for file in files("crplugins.limits.redis").iterdir() if file.suffix == ".lua"
}

IN_ZIP = """
from crplugins.limits.redis import client
print(client.__file__)
print(client.RESERVE.sha, client.SETTLE.sha, client.RENEW.sha, client.LEVELS.sha, client.SEED.sha)
"""


def test_each_lua_file_of_the_package_is_one_script_but_the_two_that_others_begin_with():
    clock, meter = LUA["clock.lua"], LUA["meter.lua"]
    scripts = [text for name, text in LUA.items() if name not in ("clock.lua", "meter.lua")]
    assert len(scripts) == 5
    assert sorted(script.text.removeprefix(clock).removeprefix(meter) for script in SCRIPTS) == sorted(scripts)
    assert all(script.text.startswith(clock) == ("read_clocks" in script.text) for script in SCRIPTS)
    assert all((meter in script.text) == ("read_meter" in script.text) for script in SCRIPTS)


def test_the_scripts_are_found_in_a_package_that_is_no_folder(tmp_path):
    package, archive = Path(crplugins.__file__).parent, tmp_path / "crplugins.zip"
    with ZipFile(archive, "w") as zipped:
        for file in [*package.glob("*.py"), *package.glob("core/**/*.py"), *package.glob("limits/**/*")]:
            if file.suffix in (".py", ".lua"):
                zipped.write(file, file.relative_to(package.parent))
    done = subprocess.run(
        [sys.executable, "-c", IN_ZIP],
        env=os.environ | {"PYTHONPATH": str(archive)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    where, shas = done.stdout.splitlines()
    assert where.startswith(str(archive))
    assert sorted(shas.split()) == sorted(script.sha for script in SCRIPTS)
