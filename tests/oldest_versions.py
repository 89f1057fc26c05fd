"""The oldest versions of other packages with which the gateway starts and answers are those that pyproject.toml allows.

    python -m tests.oldest_versions constraints > oldest.txt            # for `pip install --constraint oldest.txt`
    PYTHON tests/oldest_versions.py serve                               # with the Python in which they are installed

Whoever mounts plugins in an app of theirs has pinned some of them, and pip leaves what is new enough for us as it is.
"""

import json
import re
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

EXTRAS = ("slim", "sql")
KEY = "sk-oldest-0123456789"
CONFIGURATION = f"""
keys: [{{id: team-a, secret: {KEY}, limits: {{tokens_per_minute: 100000}}}}]
admin: {{token: operator-0123456789abcdef}}
ledger: {{url: "sqlite:///usage.db"}}
"""
QUESTION = {"role": "user", "content": "Hello"}


def constraints() -> Iterator[str]:
    """Each package that the gateway without litellm needs, at its lowest bound."""
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *(each for extra in EXTRAS for each in extras[extra])]:
        bound = re.fullmatch(r"([a-z][a-z0-9.-]*)(?:\[[a-z]+\])?>=([0-9.]+)(?:,.*)?", requirement)
        if bound is not None:
            yield f"{bound[1]}=={bound[2]}"
        else:
            assert requirement.startswith("crplugins["), f"{requirement} has no lower bound"


def serve() -> None:
    """Every command can be loaded, a question is answered, and the document of all that is served can be made."""
    crplugins = str(Path(sys.executable).with_name("crplugins"))
    with TemporaryDirectory() as folder:
        Path(folder, "gateway.yaml").write_text(CONFIGURATION)
        for words in (["--help"], ["check"], ["schema"], ["keys", "list"]):
            subprocess.run([crplugins, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        command = [crplugins, "serve", "--port", "0"]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                url = re.findall(r"http://[0-9.:]+", process.stdout.readline())[0]
                answer = ask(f"{url}/v1/chat/completions", model="demo/echo", messages=[QUESTION])
                assert answer["choices"][0]["finish_reason"] == "stop"
                assert "/admin/keys" in ask(f"{url}/openapi.json")["paths"]
            finally:
                process.terminate()
        subprocess.run([crplugins, "usage", "--by", "key"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    print("crplugins serves with the oldest versions that it allows")


def ask(url: str, **body: object) -> Any:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        print(*constraints(), sep="\n")
