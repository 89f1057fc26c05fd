"""A key from its making to its end, by the commands of the page about keys, against a gateway that runs."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.warm import warm_crplugins

pytestmark = pytest.mark.slow

ADMIN = "admin-token-0123456789"


@pytest.fixture(scope="module", params=["file", "sqlite"])
def folder(request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a configuration and its keys, of which each test makes its own."""
    folder = tmp_path_factory.mktemp("life")
    source = "{file: keys.yaml}" if request.param == "file" else '{sql: "sqlite:///gateway.db"}'
    model = "{model_name: m, litellm_params: {model: openai/m, api_base: 'http://127.0.0.1:1/v1'}}"
    (folder / "gateway.yaml").write_text(
        f"model_list: [{model}]\nkeys: {source}\naliases: {{fast: m}}\nadmin: {{token: {ADMIN}}}\nserver: {{port: 0}}\n"
    )
    if request.param == "file":
        (folder / "keys.yaml").write_text("keys: []\n")
    return folder


@pytest.fixture(scope="module")
def gateway(folder):
    environ = {name: value for name, value in os.environ.items() if name != "CRPLUGINS_CONFIG"}
    process = subprocess.Popen(warm_crplugins("serve"), cwd=folder, env=environ, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    yield next(word for word in line.split() if word.startswith("http://"))
    process.terminate()
    process.wait()
    process.stdout.close()


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(warm_crplugins(*arguments), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def ask(url: str, secret: str, body: dict | None = None) -> tuple[int, dict]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def becomes(url: str, secret: str, expected: int) -> dict:
    give_up = time.monotonic() + 60
    while (answer := ask(url, secret))[0] != expected:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    return answer[1]


def test_a_key_is_made_rotated_and_revoked_while_the_gateway_runs(folder, gateway):
    models = gateway + "/v1/models"
    first = run(folder, "keys", "new", "--id", "team-a", "--model", "fast").splitlines()[-1]
    assert [m["id"] for m in becomes(models, first, 200)["data"]] == ["fast"]
    second = json.loads(run(folder, "keys", "rotate", "team-a", "--overlap", "24h", "--json"))["secret"]
    becomes(models, second, 200)
    assert ask(models, first)[0] == 200
    run(folder, "keys", "revoke", "team-a")
    assert becomes(models, second, 401)["error"]["code"] == "invalid_api_key"
    becomes(models, first, 401)
    listed = run(folder, "keys", "list", "--json")
    assert first not in listed
    assert second not in listed
    assert "revoked" in listed


def test_the_admin_api_makes_a_key_that_works_at_once(folder, gateway):
    status, made = ask(gateway + "/admin/keys", ADMIN, {"id": "b", "models": ["m"]})
    assert status == 201
    assert ask(gateway + "/v1/models", made["secret"])[0] == 200
    assert ask(gateway + "/admin/keys/b/revoke", ADMIN, {})[0] == 200
    assert ask(gateway + "/v1/models", made["secret"])[0] == 401
    assert ask(gateway + "/admin/keys", "wrong")[0] == 401
    assert made["secret"] not in json.dumps(ask(gateway + "/admin/keys", ADMIN)[1])
    assert "/admin/keys" in ask(gateway + "/openapi.json", "")[1]["paths"]


def test_what_would_happen_is_explained(folder):
    run(folder, "keys", "new", "--id", "team-c", "--model", "fast")
    steps = run(folder, "explain", "--key", "team-c", "--model", "fast")
    assert "alias" in steps
    assert "direct" in steps
    run(folder, "explain", "--key", "team-c", "--model", "m", code=1)
    run(folder, "explain", "--key", "nobody", "--model", "fast", code=1)
