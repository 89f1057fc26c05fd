"""`crplugins check`: what a configuration sets up."""

import json

CONFIG = """\
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {model: openai/gpt-4o-mini, api_base: "https://me:sk-topsecret@api.example.com/v1"}
  - model_name: local [big]
    litellm_params: {model: hosted_vllm/llama, api_base: http://10.0.0.7:8000/v1, weight: 4}
  - model_name: echo
    litellm_params: {model: demo/echo}
keys:
  - {id: team-a, secret: "${KEY}"}
guard: {strict: true}
plugins: [own_plugin_of_check.Mine]
litellm_settings: {drop_params: true}
"""

WARNINGS = [
    "litellm_settings is ignored: it configures LiteLLM's own proxy",
    "model_list[1].litellm_params.weight is ignored: it belongs to LiteLLM's router",
]


def checked(run, tmp_path, *arguments):
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    (tmp_path / "own_plugin_of_check.py").write_text(
        "from crplugins.core.plugin import Plugin\n\n\nclass Mine(Plugin):\n    pass\n"
    )
    return run("check", *arguments, cwd=tmp_path, KEY="sk-topsecret")


def test_json_is_alone_on_stdout_and_warnings_are_on_stderr(run, tmp_path):
    done = checked(run, tmp_path, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "file": "gateway.yaml",
        "model_list": [
            {
                "model_name": "gpt-4o-mini",
                "model": "openai/gpt-4o-mini",
                "handler": "direct",
                "api_base": "https://api.example.com/v1",
            },
            {
                "model_name": "local [big]",
                "model": "hosted_vllm/llama",
                "handler": "direct",
                "api_base": "http://10.0.0.7:8000/v1",
            },
            {"model_name": "echo", "model": "demo/echo", "handler": "demo", "api_base": None},
        ],
        "keys": ["team-a"],
        "server": {
            "host": "127.0.0.1",
            "port": 4000,
            "max_body_bytes": 10485760,
            "stream_keep_alive_seconds": None,
            "access_log": False,
            "max_header_bytes": 65536,
            "header_timeout_seconds": 10,
            "body_timeout_seconds": 30,
            "idle_timeout_seconds": 75,
            "max_connections": 4096,
            "root_path": "",
            "cors": None,
            "shutdown_seconds": 30,
            "unmetered_paths": [],
        },
        "guard": {"strict": True},
        "plugins": [{"use": "Mine", "before": None, "after": None}],
        "warnings": WARNINGS,
    }
    assert done.stderr == "".join(f"warning: {warning}\n" for warning in WARNINGS)


def test_the_table_names_everything_but_secrets(run, tmp_path):
    done = checked(run, tmp_path)
    assert done.returncode == 0
    for shown in ("gpt-4o-mini", "local [big]", "direct", "demo", "team-a", "guard.strict", "4000", "Mine"):
        assert shown in done.stdout
    assert "sk-topsecret" not in done.stdout + done.stderr


def test_without_a_file_the_demo_model_is_reported(run):
    done = run("check")
    assert done.returncode == 0
    assert done.stdout.startswith("There is no configuration file; the demo model is served.\n")
    assert json.loads(run("check", "--json").stdout)["file"] is None


def test_a_model_without_a_price_and_the_budgets_that_cannot_count_it_are_warned_of(run, tmp_path):
    (tmp_path / "keys.yaml").write_text(
        "keys: [{id: of-file, secret: sk-of-file-0123456789abcdef, budget: {usd: 1, period: day}}]"
    )
    (tmp_path / "gateway.yaml").write_text("""\
model_list:
  - model_name: brand-new
    litellm_params: {model: openai/brand-new-x, api_base: "http://10.0.0.7/v1"}
  - model_name: known
    litellm_params: {model: openai/up, api_base: "http://10.0.0.7/v1"}
    model_info: {input_cost_per_token: 0, output_cost_per_token: 0}
keys: {file: keys.yaml}
budgets: {per_team: {search: {usd: 1, period: day}}}
""")
    done = run("check", "--json", cwd=tmp_path)
    [warning] = json.loads(done.stdout)["warnings"]
    assert warning == (
        "the price of 'brand-new' is unknown: a request for it is refused under the budget of the team 'search', the key "
        "'of-file'; give the price in model_info (input_cost_per_token, output_cost_per_token)"
    )
    assert (done.returncode, done.stderr) == (0, f"warning: {warning}\n")
