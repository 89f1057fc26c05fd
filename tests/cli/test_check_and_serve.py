"""What stops `serve` stops `check`, with the same exit code and sentence, and what `serve` warns of stands in `check`."""

import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

MODEL = {
    "model_name": "m",
    "litellm_params": {"model": "openai/m", "api_base": "http://127.0.0.1:9/v1", "api_key": "x"},
    "model_info": {"input_cost_per_token": 0, "output_cost_per_token": 0},
}
KEY = {"id": "k", "secret": "sk-k-0123456789abcdef"}
LIMIT = {"per_key": {"requests_per_minute": 5}}


def model(**params: Any) -> dict[str, Any]:
    return {"model_list": [{**MODEL, "litellm_params": {**MODEL["litellm_params"], **params}}]}


STOPS = {
    "a keys file that is not there": ({"keys": {"file": "nokeys.yaml"}}, "nokeys.yaml: there is no such file"),
    "a limit store in no folder": (
        {"limits": {**LIMIT, "store": "sqlite:///nofolder/l.db"}},
        "the limit store nofolder/l.db cannot be opened: No such file or directory",
    ),
    "a limit store that is none": (
        {"limits": {**LIMIT, "store": "sqlite:///garbage.db"}},
        "the limit store garbage.db is damaged or no limit store at all",
    ),
    "a limit store that is a folder": (
        {"limits": {**LIMIT, "store": "sqlite:///folder"}},
        "the limit store folder cannot be opened: Is a directory",
    ),
    "a database of keys in no folder": (
        {"keys": {"sql": "sqlite:///nofolder/keys.db"}},
        "the database sqlite:///nofolder/keys.db cannot be asked: No such file or directory",
    ),
    "a database of keys that is none": (
        {"keys": {"sql": "sqlite:///garbage.db"}},
        "the database sqlite:///garbage.db cannot be asked: it is no database of SQLite",
    ),
    "a journal that has no room": (
        {"ledger": {"url": "sqlite:////proc/usage.db"}},
        "ledger: the journal of usage records cannot be created beside /proc/usage.db.spool",
    ),
    "a store nobody knows": ({"limits": {"store": "mysql://x"}}, "a limit store is memory, sqlite:///"),
    "certificates that are not there": (
        model(ssl_verify="/nowhere.pem"),
        "ssl_verify must be true, false or a file of certificates that is there",
    ),
    "a plugin that is not there": ({"plugins": ["nowhere.Plugin"]}, "plugins[0].use"),
    "an address that is nowhere": ({"server": {"host": "203.0.113.7"}}, "cannot listen on port 4000 of 203.0.113.7"),
    "a model without an address": (
        {"model_list": [{"model_name": "v", "litellm_params": {"model": "hosted_vllm/x"}}]},
        "'hosted_vllm/x' needs an api_base",
    ),
    "a misspelt key": ({"limts": LIMIT}, "limts: unknown key, did you mean 'limits'?"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "garbage.db").write_text("garbage: [\n" * 50)
    (tmp_path / "folder").mkdir()
    return tmp_path


def write(folder: Path, config: dict[str, Any]) -> list[str]:
    whole = {"model_list": [MODEL], "keys": [KEY], **config}
    (folder / "gateway.yaml").write_text(yaml.safe_dump(whole))
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize("name", STOPS)
def test_what_stops_serve_stops_check_with_the_same_words(run, folder, name):
    config, sentence = STOPS[name]
    there = write(folder, config)
    checked = run("check", cwd=folder)
    served = run("serve", *([] if "server" in config else ["--port", 0]), cwd=folder)
    assert (sentence in checked.stderr, sentence in served.stderr) == (True, True), (checked.stderr, served.stderr)
    assert checked.returncode == served.returncode != 0
    assert sorted(each.name for each in folder.iterdir()) == there


WARNS = {
    "an alias that leads nowhere": ({"aliases": {"a": "gone"}}, "the alias 'a' of the gateway leads to 'gone', which is not served"),
    "a variable without braces": (model(api_key="$OPENAI"), "api_key is taken as it stands; a variable of the environment is ${NAME}"),
    "an address that ends in a route": (model(api_base="http://127.0.0.1:9/v1/chat/completions"), "api_base ends in a route"),
    "a setting in the wrong place": (model(handler="direct"), "handler is ignored: it belongs beside litellm_params"),
    "no credentials": (
        {"model_list": [{"model_name": "c", "litellm_params": {"model": "anthropic/claude-sonnet-4-5"}}]},
        "litellm_params has no api_key, and ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN is not set",
    ),
    "a ledger that is no database": ({"ledger": {"url": "sqlite:///garbage.db"}}, "the ledger's database sqlite:///garbage.db cannot be opened, and records wait"),
    "a budget without a price": (
        {"model_list": [{k: MODEL[k] for k in ("model_name", "litellm_params")}], "budgets": {"per_key": {"usd": 1, "period": "day"}}},
        "the price of 'm' is unknown",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNS)
def test_what_serve_warns_of_check_warns_of(run, serve, folder, name):
    config, sentence = WARNS[name]
    write(folder, config)
    loaded = name == "no credentials"
    checked = run(
        "check", "--json", cwd=folder, litellm=loaded, ANTHROPIC_API_KEY="", LITELLM_LOCAL_MODEL_COST_MAP="True"
    )
    assert checked.returncode == 0, checked.stderr
    assert any(sentence in warning for warning in json.loads(checked.stdout)["warnings"])
    with serve(cwd=folder, litellm=loaded, ANTHROPIC_API_KEY="", LITELLM_LOCAL_MODEL_COST_MAP="True") as gateway:
        said = ""
        while sentence not in said and (piece := os.read(gateway.process.stderr.fileno(), 65536).decode()):
            said += piece
        gateway.stop(signal.SIGTERM)
    assert sentence in said


def test_a_port_in_use_is_a_warning_for_the_gateway_may_be_running(run, folder):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        write(folder, {"server": {"port": port}})
        checked, served = run("check", cwd=folder), run("serve", cwd=folder)
    sentence = f"port {port} on 127.0.0.1 is in use; stop what listens there or choose another with --port"
    assert (checked.returncode, served.returncode) == (0, 1)
    assert f"warning: {sentence}\n" in checked.stderr
    assert served.stderr.endswith(f"{sentence}\n")


def test_a_line_of_a_finding_is_that_of_the_file(run, folder):
    (folder / "gateway.yaml").write_text("limits:\n  store: sqlite:///nofolder/l.db\n")
    assert run("check", cwd=folder).stderr.startswith(
        "gateway.yaml, line 2: limits.store: the limit store nofolder/l.db"
    )


def test_online_has_a_row_for_each_and_shows_no_secret(run, folder, provider):
    good = {"model": "openai/fake-model", "api_base": provider, "api_key": "sk-topsecret"}
    write(folder, {
        "model_list": [
            {"model_name": "good", "litellm_params": good},
            {"model_name": "translated", "litellm_params": good, "handler": "litellm"},
            {"model_name": "away", "litellm_params": {**good, "api_base": "http://me:sk-topsecret@127.0.0.1:9/v1"}},
            {"model_name": "demo", "litellm_params": {"model": "demo/echo"}},
        ],
        "limits": {**LIMIT, "store": "redis://:sk-topsecret@127.0.0.1:9/0"},
        "ledger": {"url": "postgresql://me:sk-topsecret@127.0.0.1:9/db"},
    })  # fmt: skip
    done = run(
        "check", "--online", "--json", "--timeout", 30, cwd=folder, litellm=True, LITELLM_LOCAL_MODEL_COST_MAP="True"
    )
    rows = {row["what"]: row for row in json.loads(done.stdout)["online"]}
    assert {what: row["ok"] for what, row in rows.items()} == {
        "model good": True, "model translated": True, "model away": False, "model demo": True, "limits.store": False,
        "ledger": False,
    }  # fmt: skip
    assert rows["model good"]["said"] == "200 to GET /models"
    assert rows["model translated"]["said"] == "an answer to a request of one token"
    assert rows["model away"]["where"] == "openai/fake-model at http://127.0.0.1:9/v1"
    assert done.returncode == 1
    assert "topsecret" not in done.stdout + done.stderr


def test_online_all_is_well_ends_with_0_and_a_table(run, folder, provider):
    write(folder, {"model_list": [{"model_name": "good", "litellm_params": {"model": "openai/m", "api_base": provider, "api_key": "x"}}],
                   "keys": {"sql": "sqlite:///keys.db"}, "ledger": {"url": "sqlite:///usage.db"}})  # fmt: skip
    run("keys", "new", "--id", "a", "--source", "sqlite:///keys.db", cwd=folder)
    done = run("check", "--online", cwd=folder, COLUMNS="200")
    assert done.returncode == 0, done.stdout + done.stderr
    for row in ("model good .* ok .* 200 to GET /models", "keys.sql .* ok .* it answers"):
        assert re.search(row, done.stdout)
    assert re.search("ledger .* ok .* the file will be made at the start", done.stdout)


def test_what_does_not_answer_is_given_up_after_its_time(run, folder):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        write(folder, {"model_list": [{"model_name": "m", "litellm_params": {"model": "openai/m", "api_base": base, "api_key": "x"}}] * 20})  # fmt: skip
        done = run("check", "--online", "--json", "--timeout", 1, cwd=folder)
    rows = json.loads(done.stdout)["online"]
    assert [row["ok"] for row in rows] == [False] * 20
    assert all(row["seconds"] < 20 for row in rows)
    assert done.returncode == 1


OF_LITELLM = """
model_list:
  - {model_name: picture, litellm_params: {model: openai/sora-2, api_key: k}, model_info: {mode: video_generation}}
  - {model_name: unset, litellm_params: {model: openai/m, api_key: os.environ/NOT_SET_AT_ALL}}
  - {model_name: vllm, litellm_params: {model: hosted_vllm/qwen}}
  - {model_name: company, litellm_params: {model: openai/m, api_key: k, ssl_verify: /nowhere.pem}}
  - {model_name: strange, litellm_params: {model: nobody/m, api_version: "2024-06-01"}}
  - {model_name: keyless, litellm_params: {model: groq/m}}
  - {model_name: good, litellm_params: {model: openai/m, api_base: "http://127.0.0.1:9/v1", api_key: k}}
general_settings: {}
"""
LEFT_OUT = (
    "model_list[0] is not served",
    "model_list[1] is not served: litellm_params.api_key: the environment variable NOT_SET_AT_ALL is not set",
    "model 'vllm': 'hosted_vllm/qwen' needs an api_base; it is not served",
    "model 'company': ssl_verify must be true, false or a file of certificates that is there; it is not served",
    "model 'strange': litellm knows no provider for 'nobody/m'; it is not served",
    "model_list[5].litellm_params has no api_key, and GROQ_API_KEY is not set",
)


def test_a_file_of_litellms_is_served_without_each_model_that_cannot_be(run, serve, tmp_path):
    (tmp_path / "gateway.yaml").write_text(OF_LITELLM)
    environ = {"GROQ_API_KEY": "", "HOSTED_VLLM_API_BASE": "", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    checked = run("check", cwd=tmp_path, litellm=True, **environ)
    assert checked.returncode == 0, checked.stderr
    with serve(cwd=tmp_path, litellm=True, **environ) as gateway, gateway.client() as client:
        assert {model.id for model in client.models.list()} == {"keyless", "good"}
        printed = gateway.printed
        *_, served = gateway.stop(signal.SIGTERM)
    for sentence in LEFT_OUT:
        assert sentence in checked.stderr
        assert sentence in served
    assert "serves keyless, good\n" in printed
    assert '"model": "keyless"' in printed


def test_where_nothing_is_left_each_reason_has_the_line_of_its_entry(run, tmp_path):
    kept = [line for line in OF_LITELLM.splitlines() if "keyless" not in line and "good" not in line]
    (tmp_path / "gateway.yaml").write_text("\n".join(kept))
    for command in ("check", "serve"):
        done = run(command, cwd=tmp_path, litellm=True, HOSTED_VLLM_API_BASE="", LITELLM_LOCAL_MODEL_COST_MAP="True")
        assert done.returncode == 2, done.stderr
        for line, index, reason in (
            (5, 2, "needs an api_base"),
            (6, 3, "ssl_verify must"),
            (7, 4, "knows no provider"),
        ):
            assert re.search(f"line {line}: model_list\\[{index}\\]: .*{reason}", done.stderr), done.stderr
