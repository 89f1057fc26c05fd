"""`crplugins serve` as its user meets it: the process, its output, the official client."""

import shutil
import signal
import socket
import subprocess

import httpx
import openai
import pytest

from crplugins.keys.secrets import has_valid_checksum
from tests.warm import PYTHON

QUESTION = [{"role": "user", "content": "Say hello to the world"}]
UPSTREAM = (
    "model_list: [{model_name: mine, litellm_params: {model: hosted_vllm/m, api_base: 'http://127.0.0.1:9/v1'}}]\n"
)
"""A model nobody asks here: a gateway that needs no litellm starts at once."""

ANSWERING = 'model_list: [{model_name: mine, litellm_params: {model: hosted_vllm/m, api_base: "${PROVIDER}"}}]\n'


@pytest.fixture(scope="module")
def demo(serve):
    with serve() as gateway:
        yield gateway


def text_of(stream):
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_without_a_configuration_the_demo_model_answers_the_printed_key(demo):
    with demo.client() as client:
        answer = client.chat.completions.create(model="demo/echo", messages=QUESTION)
        assert "Say hello to the world" in answer.choices[0].message.content
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.total_tokens > 0
        stream = client.chat.completions.create(model="demo/echo", messages=QUESTION, stream=True)
        assert text_of(stream) == answer.choices[0].message.content


def test_beside_it_another_demo_model_goes_through_litellm_which_is_imported_meanwhile(demo):
    with demo.client() as client:
        assert [model.id for model in client.models.list()] == ["demo/echo", "demo/litellm"]
        whole = client.chat.completions.create(model="demo/litellm", messages=QUESTION)
        assert (whole.model, whole.choices[0].message.content.startswith("This answer came through litellm")) == (
            "demo/litellm", True
        )  # fmt: skip
        stream = client.chat.completions.create(model="demo/litellm", messages=QUESTION, stream=True)
        assert text_of(stream) == whole.choices[0].message.content


def test_the_key_of_a_run_is_a_minted_one_and_the_only_one(demo):
    assert has_valid_checksum(demo.key)
    with demo.client(key="sk-other") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_printed_curl_line_works_unchanged(demo):
    (line,) = [line for line in demo.printed.splitlines() if line.startswith("curl ")]
    done = subprocess.run(line + " -sS", shell=True, capture_output=True, text=True, check=True)
    assert '"object":"chat.completion"' in done.stdout.replace('": "', '":"')


def test_the_printed_python_sample_works_unchanged(demo):
    sample = demo.printed[demo.printed.index("from openai import OpenAI") :]
    assert len(sample.splitlines()) == 4
    done = subprocess.run([*PYTHON.command, "-c", sample], capture_output=True, text=True, check=True)
    assert "Hello!" in done.stdout


def test_the_server_does_not_say_what_software_it_is(demo):
    assert "server" not in httpx.get(f"{demo.url}/healthz").headers


def test_a_port_in_use_is_refused_in_one_sentence(demo, run):
    done = run("serve", "--port", demo.port)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"port {demo.port} on 127.0.0.1 is in use; stop what listens there or choose another with --port\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_in_silence(serve, tmp_path, number):
    (tmp_path / "gateway.yaml").write_text(UPSTREAM)
    with serve(cwd=tmp_path) as gateway:
        assert gateway.stop(number) == (0, "", "")


def test_a_request_in_flight_is_answered_before_it_ends(serve, provider, tmp_path):
    (tmp_path / "slow_plugin_of_test.py").write_text(
        "import asyncio\n"
        "from crplugins.core.plugin import Plugin\n\n\n"
        "class Slow(Plugin):\n"
        "    async def on_request(self, exchange):\n"
        "        print('busy', flush=True)\n"
        "        await asyncio.sleep(0.5)\n"
    )
    (tmp_path / "gateway.yaml").write_text(f"{ANSWERING}plugins: [slow_plugin_of_test.Slow]\n")
    with serve(cwd=tmp_path, PROVIDER=provider) as gateway:
        request = subprocess.Popen(
            [*PYTHON.command, "-c", gateway.printed[gateway.printed.index("from openai import OpenAI") :]],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert gateway.process.stdout.readline() == "busy\n"
        assert gateway.stop()[0] == 0
        assert "Hello!" in request.communicate(timeout=30)[0]


def test_two_workers_share_port_and_key(serve, provider, tmp_path):
    (tmp_path / "gateway.yaml").write_text(ANSWERING)
    with serve("--workers", 2, cwd=tmp_path, PROVIDER=provider) as gateway:
        for _ in range(8):  # one connection each, so that both workers are met
            with gateway.client() as client:
                answer = client.chat.completions.create(model="mine", messages=QUESTION)
                assert "Say hello to the world" in answer.choices[0].message.content
        code, out, err = gateway.stop()
    assert (code, out) == (0, "")
    assert "Traceback" not in err


def test_configured_keys_are_used_and_not_printed(serve, tmp_path):
    config = tmp_path / "my.yaml"
    config.write_text(UPSTREAM + "keys: [{id: team-a, secret: '${TEAM_KEY}'}]\n")
    with serve("--config", config, TEAM_KEY="sk-topsecret") as gateway:
        assert gateway.printed.splitlines() == [f"crplugins 0.1.0 listens on {gateway.url} and serves mine"]
        with gateway.client(key="sk-topsecret") as client:
            assert [model.id for model in client.models.list()] == ["mine"]


def test_a_client_cannot_say_that_it_has_another_address(serve, provider, tmp_path):
    (tmp_path / "gateway.yaml").write_text(
        f"{ANSWERING}keys: [{{id: a, secret: sk-topsecret}}]\nlimits: {{per_client_address: {{requests_per_day: 1}}}}\n"
    )
    body = {"model": "mine", "messages": QUESTION}
    with serve(cwd=tmp_path, PROVIDER=provider, FORWARDED_ALLOW_IPS="*") as gateway:
        answers = [
            httpx.post(
                f"{gateway.url}/v1/chat/completions",
                headers={"authorization": "Bearer sk-topsecret", **headers},
                json=body,
            ).status_code
            for headers in ({}, {"x-forwarded-for": "203.0.113.7"}, {"forwarded": "for=203.0.113.8"})
        ]
    assert answers == [200, 429, 429]


def test_workers_read_the_configuration_the_command_was_given(serve, tmp_path):
    (tmp_path / "my.yaml").write_text(
        UPSTREAM + "keys: [{id: a, secret: sk-topsecret}]\nserver: {max_body_bytes: 100}\n"
    )
    with (
        serve("--workers", 2, "--config", "my.yaml", cwd=tmp_path, CRPLUGINS_RUN_KEY="sk-stale") as gateway,
        gateway.client("sk-topsecret") as client,
    ):
        assert [model.id for model in client.models.list()] == ["mine"]
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model="mine", messages=[{"role": "user", "content": "x" * 100}])
        assert caught.value.status_code == 413
        with gateway.client("sk-stale") as stale, pytest.raises(openai.AuthenticationError):
            stale.models.list()


def test_without_keys_in_the_configuration_one_is_generated_with_the_reason(serve, tmp_path):
    (tmp_path / "gateway.yaml").write_text(UPSTREAM)
    with serve(cwd=tmp_path) as gateway:
        assert "Key generated at start-up, because the configuration has no 'keys':\n" in gateway.printed
        with gateway.client() as client:
            assert [model.id for model in client.models.list()] == ["mine"]


def test_host_and_port_of_the_command_line_come_first(serve, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (tmp_path / "gateway.yaml").write_text(
            f"{UPSTREAM}server: {{host: 192.0.2.1, port: {taken.getsockname()[1]}}}\n"
        )
        with serve("--host", "localhost", cwd=tmp_path) as gateway:
            assert httpx.get(f"{gateway.url}/healthz").status_code == 200


def test_a_wildcard_address_is_printed_as_one_a_client_can_use(serve, tmp_path):
    (tmp_path / "gateway.yaml").write_text(UPSTREAM)
    with serve("--host", "0.0.0.0", cwd=tmp_path) as gateway:
        assert gateway.url == f"http://127.0.0.1:{gateway.port}"
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200
