"""`crplugins serve` with a ledger, metrics and an access log, in one process and in several."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from crplugins.cli.startup_log import STARTING

CONFIGURATION = """
model_list: [{model_name: mine, litellm_params: {model: openai/m, api_base: "${PROVIDER}"}, handler: direct}]
keys: [{id: team-a, secret: sk-team-a-0123456789}]
ledger: {url: "sqlite:///usage.db", commit_seconds: 0}
metrics: {token: scrape-me}
log: {format: json}
"""
QUESTION = {"model": "mine", "messages": [{"role": "user", "content": "a secret word"}]}
KEY = {"authorization": "Bearer sk-team-a-0123456789"}


def ask(url: str, **more: object) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", headers=KEY, json={**QUESTION, **more}, timeout=30)


def requests_counted(url: str) -> float:
    text = httpx.get(f"{url}/metrics", headers={"authorization": "Bearer scrape-me"}).text
    return sum(float(n) for n in re.findall(r'crplugins_requests_total\{.*key_id="team-a".*\} (\S+)', text))


@pytest.mark.parametrize("workers", [1, 2])
def test_every_request_is_counted_logged_and_kept(serve, run, provider, tmp_path, workers):
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    with serve("--workers", workers, cwd=tmp_path, PROVIDER=provider) as gateway:
        answers = [ask(gateway.url, stream=stream) for stream in (False, True) * 5]
        refused = ask(gateway.url, temperature=7)
        assert [answer.status_code for answer in answers] == [200] * 10
        assert refused.status_code == 400
        assert {requests_counted(gateway.url) for _ in range(6)} == {11}
        own = httpx.get(f"{gateway.url}/v1/usage", headers=KEY, params={"by": "model"}).json()["data"]
        assert [(line["requested_model"], line["requests"], line["errors"]) for line in own] == [("mine", 11, 1)]
        code, _, log = gateway.stop()
    assert code == 0
    lines = [line for line in map(json.loads, log.splitlines()) if line["logger"] == "crplugins.access"]
    ids = {answer.headers["x-request-id"] for answer in [*answers, refused]}
    assert {line["request_id"] for line in lines} == ids
    assert "secret" not in log
    assert "sk-team-a" not in log
    (kept,) = json.loads(run("usage", "--json", cwd=tmp_path, PROVIDER=provider).stdout)
    tokens = sum(json.loads(answer.content)["usage"]["completion_tokens"] for answer in answers[::2])
    assert (kept["key_id"], kept["requests"], kept["output_tokens"]) == ("team-a", 11, 2 * tokens)


def test_metrics_are_for_the_scraper_with_the_token_alone(serve, provider, tmp_path):
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    with serve(cwd=tmp_path, PROVIDER=provider) as gateway:
        for headers in ({}, KEY, {"authorization": "Bearer wrong"}):
            answer = httpx.get(f"{gateway.url}/metrics", headers=headers)
            assert (answer.status_code, answer.json()["error"]["type"]) == (401, "invalid_request_error")
        assert httpx.post(f"{gateway.url}/metrics").status_code == 405


def test_metrics_without_a_word_about_their_token_are_refused_at_the_start(run, tmp_path):
    (tmp_path / "gateway.yaml").write_text("metrics: {path: /metrics}\n")
    done = run("check", cwd=tmp_path)
    assert done.returncode == 2
    assert "metrics.token: is missing" in done.stderr


UP = """
import sys
from crplugins.core.plugin import Plugin

class Up(Plugin):
    async def __aenter__(self):
        print("up", file=sys.stderr, flush=True)
        return self
    async def __aexit__(self, *error):
        pass
"""
LIMITED = """
model_list:
- model_name: mine
  litellm_params: {model: openai/m, api_base: "${PROVIDER}"}
  handler: direct
  model_info: {input_cost_per_token: 0, output_cost_per_token: 1.0e-6}
keys:
- {id: team-a, secret: sk-team-a-0123456789, limits: {requests_per_day: 7}}
- {id: team-b, secret: sk-team-b-0123456789, budget: {usd: 0.00006, period: day}}
plugins: [up_plugin_of_test.Up]
ledger: {url: "sqlite:///usage.db", commit_seconds: 0}
"""


def test_workers_with_a_store_in_memory_let_through_what_one_process_would(serve, run, provider, tmp_path):
    (tmp_path / "gateway.yaml").write_text(LIMITED)
    (tmp_path / "up_plugin_of_test.py").write_text(UP)
    with serve("--workers", 2, cwd=tmp_path, PROVIDER=provider, TMPDIR=str(tmp_path)) as gateway:
        up = 0
        while up < 2:  # between lines of the log
            up += gateway.process.stderr.readline() == "up\n"

        def passed(key: str, number: int) -> int:
            def one(_: int) -> int:
                headers = {"authorization": f"Bearer {key}"}
                return httpx.post(url, headers=headers, json={**QUESTION, "max_tokens": 20}, timeout=30).status_code

            url = f"{gateway.url}/v1/chat/completions"
            with ThreadPoolExecutor(8) as pool:
                return list(pool.map(one, range(number))).count(200)

        assert passed("sk-team-a-0123456789", 40) == 7
        assert [file.name for folder in tmp_path.glob("crplugins-limits-*") for file in folder.glob("limits.db")]
        passed("sk-team-b-0123456789", 40)
        assert gateway.stop()[0] == 0
    assert not [*tmp_path.glob("crplugins-limits-*")]
    kept = json.loads(run("usage", "--by", "key", "--json", cwd=tmp_path, PROVIDER=provider).stdout)
    (spent,) = [line["cost_usd"] for line in kept if line["key_id"] == "team-b"]
    assert 0 < spent <= 0.00006


def test_workers_without_a_place_for_their_store_are_refused(run, tmp_path):
    (tmp_path / "gateway.yaml").write_text(LIMITED.replace("plugins: [up_plugin_of_test.Up]\n", ""))
    place = f"import tempfile; tempfile.tempdir = {str(tmp_path / 'none')!r}; from crplugins.cli import main; main()"
    command = [sys.executable, "-c", place, "serve", "--port", "0", "--workers", "2"]
    variables = {**os.environ, "PROVIDER": "http://127.0.0.1:9/v1"}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.removeprefix(STARTING) == (
        "workers share temporary files, and none can be made: No such file or directory. "
        "TMPDIR names a place for them\n"
    )
