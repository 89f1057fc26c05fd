"""A gateway with a model that needs litellm listens at once, and imports litellm while it serves the others."""

import signal
import threading

import httpx
import openai
import pytest

QUESTION = [{"role": "user", "content": "hello"}]
MODELS = """
model_list:
  - {model_name: early, litellm_params: {model: demo/echo}}
  - {model_name: late, litellm_params: {model: anthropic/claude-sonnet-4-5, mock_response: imported, api_key: k}}
  - {model_name: either, litellm_params: {model: anthropic/claude-sonnet-4-5, mock_response: imported, api_key: k}}
  - {model_name: either, litellm_params: {model: demo/echo}}
"""


@pytest.fixture(scope="module")
def gateway(serve, tmp_path_factory):
    folder = tmp_path_factory.mktemp("late")
    (folder / "gateway.yaml").write_text(MODELS)
    with serve(cwd=folder) as gateway:
        yield gateway


def said(client, model):
    return client.chat.completions.create(model=model, messages=QUESTION).choices[0].message.content


def test_other_models_answer_while_litellm_is_imported_and_its_own_wait_for_it(gateway):
    answers = []
    with gateway.client() as client:
        waiting = threading.Thread(target=lambda: answers.append(said(client, "late")))
        waiting.start()
        healthz, readyz = (httpx.get(f"{gateway.url}/{path}", timeout=60) for path in ("healthz", "readyz"))
        early = [said(client, name) for name in ("early", "either", "either", "early")]
        assert (answers, healthz.status_code, readyz.status_code) == ([], 200, 503)
        assert (readyz.json()["status"], readyz.json()["waiting"]) == ("starting", ["late"])
        assert early == ["You said: hello"] * 4
        waiting.join()
    assert answers == ["imported"]


def test_it_is_ready_when_every_model_answers_at_once_and_deployments_take_turns(gateway):
    with gateway.client() as client:
        said(client, "late")
        assert httpx.get(f"{gateway.url}/readyz", timeout=60).json().keys() == {"status", "prices"}
        assert {said(client, "either") for _ in range(2)} == {"imported", "You said: hello"}


def test_a_signal_ends_it_while_litellm_is_being_imported(serve, tmp_path):
    (tmp_path / "gateway.yaml").write_text(MODELS)
    with serve(cwd=tmp_path) as gateway:
        gateway.process.send_signal(signal.SIGTERM)
        out, err = gateway.process.communicate(timeout=300)
        assert (gateway.process.returncode, out) == (0, "")
        assert "cannot be served" not in err
        assert len(err.splitlines()) <= 2, "it is starting, and loaded"


def test_a_model_that_nobody_knows_still_keeps_it_from_starting(run, tmp_path):
    (tmp_path / "gateway.yaml").write_text("model_list: [{model_name: m, litellm_params: {model: no-such-thing/m}}]")
    done = run("serve", "--port", 0, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "litellm knows no provider for 'no-such-thing/m'" in done.stderr


def test_a_model_that_nobody_knows_keeps_no_other_from_being_served(serve, tmp_path):
    (tmp_path / "gateway.yaml").write_text(
        "model_list: [{model_name: picture, litellm_params: {model: dall-e-3, api_key: x}},"
        " {model_name: m, litellm_params: {model: demo/echo}}]"
    )
    with serve(cwd=tmp_path) as gateway, gateway.client() as client:
        assert said(client, "m") == "You said: hello"
        assert [model.id for model in client.models.list()] == ["m"]
        with pytest.raises(openai.NotFoundError):
            said(client, "picture")
        assert httpx.get(f"{gateway.url}/readyz", timeout=60).json()["status"] == "ok"


def test_every_worker_serves_a_late_model(serve, tmp_path):
    (tmp_path / "gateway.yaml").write_text(MODELS)
    with serve("--workers", 2, cwd=tmp_path) as gateway, gateway.client() as client:
        assert {said(client, "late") for _ in range(8)} == {"imported"}
