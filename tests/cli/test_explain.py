"""`crplugins explain`: what would happen to a request, and why."""

# ruff: noqa: F811  # fixtures of another module

import json
from datetime import timedelta

import pytest

from crplugins.handlers.routing.settings import STRATEGIES
from crplugins.metering.listed_prices import installed_source
from tests.cli.test_keys import Command, blockbuster, command, keys, made  # noqa: F401  # fixtures
from tests.keys.conftest import NOW

SECRET = "sk-proj-0123456789abcdefghijkl"
CONFIG = f"""\
model_list:
  - model_name: gpt-4o
    litellm_params: {{model: openai/up-4o, api_base: "https://me:sk-hidden@one.example.com/v1?key=sk-hidden", api_key: sk-hidden}}
  - model_name: gpt-4o
    litellm_params: {{model: openai/up-4o, api_base: "https://two.example.com/v1", api_key: sk-hidden}}
  - model_name: llama-*
    litellm_params: {{model: hosted_vllm/meta-*, api_base: "http://10.0.0.7:8000/v1"}}
  - model_name: echo
    litellm_params: {{model: demo/echo}}
aliases: {{fast: gpt-4o, "old-*": fast, lost: gone, canary: [{{model: gpt-4o, weight: 1}}, {{model: echo, weight: 1}}]}}
keys:
  - {{id: all, secret: {SECRET}}}
  - {{id: some, secret: {SECRET}2, models: [fast], team: search}}
  - {{id: over, secret: {SECRET}3, expires: 2026-05-01}}
  - {{id: later, secret: {SECRET}4, not_before: 2026-07-01}}
  - {{id: 'off', secret: {SECRET}5, disabled: true}}
"""

DEADLINES = "a stream has 200 s to its first token, 600 s between two; a plain answer has 200 s"
RETRIES = "weight 1: asked again once at most, within the budget of retries; when it keeps failing it cools down for 4 s at first"
NO_PRICE = f"its price is unknown, prices are from {installed_source()}: cost is null, and no budget counts it"


@pytest.fixture
def explained(command, tmp_path):
    """Exit code, and the steps as (step, ok, text)."""
    (tmp_path / "gateway.yaml").write_text(CONFIG)

    def explain(key, model, *arguments):
        code, out, err = command("explain", "--key", key, "--model", model, "--json", *arguments)
        assert err == ""
        assert "hidden" not in out
        assert SECRET not in out
        answer = json.loads(out)
        assert (answer["key"], answer["model"], answer["served"]) == (key, model, code == 0)
        return code, [(step["step"], step["ok"], step["text"]) for step in answer["steps"]]

    return explain


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_how_a_deployment_is_chosen_is_said_of_every_strategy(command, tmp_path, strategy):
    (tmp_path / "gateway.yaml").write_text(
        f"{CONFIG}routing_strategy: {strategy}\nfallbacks: {{gpt-4o: echo, echo: gpt-4o}}\n"
    )
    code, out, _ = command("explain", "--key", "all", "--model", "gpt-4o", "--json")
    steps = [(step["step"], step["text"]) for step in json.loads(out)["steps"]]
    assert (
        code,
        len([text for step, text in steps if step == "handler" and "1 more to which it fails over" in text]),
    ) == (0, 2)
    assert [text for step, text in steps if step == "fallbacks"] == [
        "if no deployment of it answers: 'echo'", "if the prompt is too long for it: 'echo'",
        "if a policy of the provider forbids the content: 'echo'",
    ]  # fmt: skip


def test_a_request_is_followed_to_its_handlers(explained):
    assert explained("all", "old-1") == (0, [
        ("key", True, "the key 'all' is live"),
        ("allow_list", True, "the key 'all' may call every model"),
        ("alias", True, "'old-1' is matched by the pattern 'old-*' of the gateway: 'fast'"),
        ("alias", True, "'fast' is an alias of the gateway: 'gpt-4o'"),
        ("target", True, "'gpt-4o' is served"),
        ("limits", True, "no limit and no budget applies"),
        ("handler", True, "direct: 'up-4o' at https://one.example.com/v1, bytes passed through, in turn with 1 more to which it fails over"),
        ("deadlines", True, DEADLINES),
        ("retries", True, RETRIES),
        ("on_break", True, "error: a stream that breaks after its first token ends with an error"),
        ("price", True, NO_PRICE),
        ("handler", True, "direct: 'up-4o' at https://two.example.com/v1, bytes passed through, in turn with 1 more to which it fails over"),
        ("deadlines", True, DEADLINES),
        ("retries", True, RETRIES),
        ("on_break", True, "error: a stream that breaks after its first token ends with an error"),
        ("price", True, NO_PRICE),
    ])  # fmt: skip


def test_a_pattern_is_filled_in_on_the_way_to_the_upstream(explained):
    code, steps = explained("all", "llama-3")
    assert code == 0
    assert steps[-5] == ("handler", True, "direct: 'meta-3' at http://10.0.0.7:8000/v1, bytes passed through")


def test_the_demo_model_has_a_handler_of_its_own(explained):
    assert explained("all", "echo")[1][-5] == ("handler", True, "demo: it says back what it is told")


def test_a_weighted_alias_is_sticky_for_the_user(explained):
    for user in ("ann", "bob", "eve"):
        steps = explained("all", "canary", "--user", user)[1]
        weights = next(text for step, _, text in steps if step == "weights")
        assert f"the hash of the request's user '{user}' and the key picks it" in weights
        assert steps[-5][2].startswith("demo" if "'echo'" in weights else "direct")


@pytest.mark.parametrize(
    ("key", "model", "step", "text"),
    [
        ("some", "gpt-4o", "allow_list", "the key 'some' may not call 'gpt-4o': neither it nor what it resolves to is in its models"),
        ("all", "lost", "target", "'gone' is not served: 404 model_not_found"),
        ("over", "fast", "key", "the key 'over' expired on 2026-05-01T00:00:00Z: 401 invalid_api_key"),
        ("later", "fast", "key", "the key 'later' is not valid before 2026-07-01T00:00:00Z: 401 invalid_api_key"),
        ("off", "fast", "key", "the key 'off' is disabled: 401 invalid_api_key"),
        ("al", "fast", "key", "there is no key 'al', did you mean 'all'?: 401 invalid_api_key"),
    ],
)  # fmt: skip
def test_what_would_be_refused_ends_with_1_and_the_reason(explained, key, model, step, text):
    code, steps = explained(key, model)
    assert code == 1
    assert steps[-1] == (step, False, text)


def test_the_limits_of_a_request_and_its_cost_are_explained(command, tmp_path):
    (tmp_path / "gateway.yaml").write_text("""\
model_list:
  - model_name: m
    litellm_params: {model: openai/up, api_base: "http://10.0.0.7/v1", rpm: 500}
    model_info: {input_cost_per_token: 1.5e-7, output_cost_per_token: 6.0e-7}
keys:
  - {id: a, secret: sk-proj-0123456789abcdefghijkl, team: t, limits: {requests_per_minute: 60}, budget: {usd: 5, period: month}}
limits:
  per_model: {m: {tokens_per_minute: 1000, shadow: true}}
  per_user: {requests_per_minute: 5}
  per_session: {requests: 40}
  global: {max_parallel_requests: 9}
budgets: {per_team: {t: {usd: 100, period: total}}, per_session: {usd: 2}}
""")
    code, out, _ = command("explain", "--key", "a", "--model", "m", "--input-tokens", 2000, "--output-tokens", 500)
    assert code == 0
    lines = {line.split()[1]: line.split(maxsplit=2)[2] for line in out.splitlines()}
    assert lines["limits"] == (
        "60 requests_per_minute (key), 5 requests_per_minute (user), 40 requests (session), "
        "1000 tokens_per_minute (model, shadow), 9 max_parallel_requests (global), "
        "$5.00 per month (key), $100.00 per total (team), $2.00 in all (session)"
    )
    assert lines["handler"].endswith("bytes passed through, at most 500 requests_per_minute")
    assert (
        lines["price"]
        == "$0.15 input, $0.6 output per million tokens, says the configuration; 2000 in and 500 out cost $0.000600"
    )


def test_people_read_one_line_for_each_step(command, tmp_path):
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    code, out, _ = command("explain", "--key", "some", "--model", "fast")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()][:3] == [["ok", "key"], ["ok", "allow_list"], ["ok", "alias"]]
    assert "the key 'some', of the team 'search' is live" in out
    assert "hidden" not in out


@pytest.mark.parametrize(
    "spec", ["{file: keys.yaml}", "{sql: 'sqlite:///gw.db'}", "[{keys: [{id: b, secret: abc}]}, {file: keys.yaml}]"]
)
def test_keys_of_every_source_are_found(command, tmp_path, spec):
    made(command, "sqlite:///gw.db" if "sql" in spec else "keys.yaml", "--expires", "2026-06-02")
    (tmp_path / "gateway.yaml").write_text(f"keys: {spec}\n")
    assert command("explain", "--key", "team-a", "--model", "demo/echo")[0] == 0
    command.now = NOW + timedelta(days=1)
    assert command("explain", "--key", "team-a", "--model", "demo/echo")[0] == 1
    command.now = NOW
    keys(command, "sqlite:///gw.db" if "sql" in spec else "keys.yaml", "revoke", "team-a")
    _, out, _ = command("explain", "--key", "team-a", "--model", "demo/echo")
    assert "the key 'team-a' is revoked: none of its secrets is valid" in out


def test_a_secret_given_for_an_id_is_refused_and_not_repeated(command, tmp_path):
    secret = made(command, "keys.yaml")
    code, out, err = command("explain", "--key", secret, "--model", "x")
    assert (code, out) == (2, "")
    assert secret not in err


def test_the_command_itself_explains(run, tmp_path):
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    done = run("explain", "--key", "all", "--model", "fast", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["served"] is True
    assert run("explain", "--key", "all", "--model", "nope", cwd=tmp_path).returncode == 1
    assert run("explain", "--key", "all", cwd=tmp_path).returncode == 2


def test_under_a_budget_a_model_without_a_price_is_refused_and_shadows_are_named(command, tmp_path):
    (tmp_path / "gateway.yaml").write_text("""\
model_list: [{model_name: m, litellm_params: {model: openai/brand-new-x, api_base: "http://10.0.0.7/v1"}}]
keys:
  - {id: a, secret: sk-proj-0123456789abcdefghijkl, budget: {usd: 5, period: month}}
  - {id: b, secret: sk-proj-9876543210abcdefghijkl, budget: {usd: 5, period: month, shadow: true}, models: [x], models_shadow: true}
""")
    code, out, _ = command("explain", "--key", "a", "--model", "m")
    assert (code, out.splitlines()[-1].split(maxsplit=2)) == (
        1, ["no", "price", f"its price is unknown, prices are from {installed_source()}: 400 under a budget, until model_info gives it"],
    )  # fmt: skip
    code, out, _ = command("explain", "--key", "b", "--model", "m")
    assert code == 0
    assert "the key 'b' may not call 'm': neither it nor what it resolves to is in its models (shadow)" in out
    assert "$5.00 per month (key, shadow)" in out


def test_deadlines_retries_order_and_weight_are_those_of_each_deployment(command, tmp_path):
    (tmp_path / "gateway.yaml").write_text("""\
num_retries: 0
model_list:
  - model_name: m
    litellm_params: {model: openai/one, api_base: "http://10.0.0.7/v1", order: 1, weight: 3, timeout: 30, stall_timeout: 5}
  - model_name: m
    litellm_params: {model: openai/two, api_base: "http://10.0.0.8/v1", first_token_timeout: 7, num_retries: 2, cooldown_time: 0}
    on_break: restart
keys: [{id: a, secret: sk-proj-0123456789abcdefghijkl}]
""")
    code, out, _ = command("explain", "--key", "a", "--model", "m", "--json")
    steps = [(step["step"], step["text"]) for step in json.loads(out)["steps"]]
    assert code == 0
    assert [text for step, text in steps if step == "deadlines"] == [
        "a stream has 10 s to its first token, 5 s between two, 30 s in all; a plain answer has 10 s",
        "a stream has 7 s to its first token, 600 s between two; a plain answer has 7 s",
    ]
    assert [text for step, text in steps if step == "retries"] == [
        "order 1, weight 3: not asked again; when it keeps failing it cools down for 4 s at first",
        "weight 1: asked again 2 times at most, within the budget of retries; when it keeps failing it never cools down",
    ]
    assert [text.partition(":")[0] for step, text in steps if step == "on_break"] == ["error", "restart"]


def test_the_room_that_is_left_to_a_key_is_said_where_there_is_a_bound(command, tmp_path):
    (tmp_path / "gateway.yaml").write_text("""\
server: {max_in_flight: 100}
limits: {per_key: {requests_per_minute: 60}, queue: {seconds: 5}}
keys:
  - {id: batch, secret: sk-proj-0123456789abcdefghijkl, priority: low}
  - {id: shop, secret: sk-proj-9876543210abcdefghijkl, priority: high}
""")
    for key, priority, places in (("batch", "low", 75), ("shop", "high", 100)):
        code, out, _ = command("explain", "--key", key, "--model", "demo/echo")
        text = f"priority '{priority}': it is taken while fewer than {places} requests are in flight in its process"
        assert (code, f"{text} (server.max_in_flight: 100), else 503 server_full" in out) == (0, True)
        assert "60 requests_per_minute (key, waits up to 5 s)" in out
