"""`crplugins check`: what a configuration sets up."""

import json

CONFIG = """\
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {model: openai/gpt-4o-mini, api_base: "https://me:sk-topsecret@api.example.com/v1"}
  - model_name: local [big]
    litellm_params: {model: hosted_vllm/llama, api_base: http://10.0.0.7:8000/v1, tags: [a]}
  - model_name: echo
    litellm_params: {model: demo/echo}
keys:
  - {id: team-a, secret: "${KEY}"}
guard: {strict: true}
plugins: [own_plugin_of_check.Mine]
litellm_settings: {drop_params: true}
"""

WARNINGS = [
    "model_list[1].litellm_params.tags is ignored: a key of a client says which models it may call, see 'keys[].models', "
    "and 'aliases' who gets which",
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
            "uds": None,
            "tls": None,
            "watch": False,
            "port": 4000,
            "max_body_bytes": 10485760,
            "stream_keep_alive_seconds": None,
            "access_log": True,
            "max_header_bytes": 65536,
            "header_timeout_seconds": 10,
            "body_timeout_seconds": 30,
            "idle_timeout_seconds": 75,
            "max_connections": 4096,
            "max_in_flight": None,
            "root_path": "",
            "cors": None,
            "shutdown_seconds": 30,
            "endpoints": [],
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


def test_every_section_that_is_written_is_shown_without_secrets(run, tmp_path):
    (tmp_path / "keys.yaml").write_text("keys: [{id: of-file, secret: sk-of-file-0123456789abcdef}]")
    (tmp_path / "gateway.yaml").write_text("""\
keys: {file: keys.yaml}
aliases: {fast: demo/echo}
limits: {per_key: {requests_per_minute: 60}, store: "redis://me:sk-topsecret@redis:6379/0?password=sk-topsecret"}
budgets: {per_team: {search: {usd: 1, period: day}}}
ledger: {url: "sqlite:///usage.db"}
metrics: {token: sk-topsecret-0123456789}
admin: {token: sk-topsecret-9876543210}
""")
    table, report = run("check", cwd=tmp_path), run("check", "--json", cwd=tmp_path)
    shown = ("keys.yaml", "fast", "requests_per_minute", "redis://redis:6379/0", "search", "usage.db", "metrics.token")
    assert all(word in table.stdout for word in (*shown, "admin.token"))
    assert json.loads(report.stdout)["keys"] == ["of-file"]
    assert json.loads(report.stdout)["limits"]["per_key"] == {"requests_per_minute": 60}
    assert "topsecret" not in table.stdout + table.stderr + report.stdout + report.stderr


def test_an_address_whose_password_is_not_escaped_is_not_shown():
    from crplugins.core.redaction import without_credentials

    for url in ("postgresql://u:pa/ss@host/db", "postgresql://u:pa?ss@host/db", "postgresql://u:pa#ss@host/db"):
        assert without_credentials(url) == "postgresql://..."
    assert without_credentials("postgresql://u:p@ss@host/db?x=y") == "postgresql://host/db"


def test_a_keys_file_that_is_not_there_stops_it_as_it_stops_serve(run, tmp_path):
    (tmp_path / "gateway.yaml").write_text("keys: {file: nokeys.yaml}")
    done = run("check", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "nokeys.yaml: there is no such file\n")


def test_what_leads_to_no_served_model_is_told_and_an_unknown_provider_stops_no_other(run, tmp_path):
    (tmp_path / "gateway.yaml").write_text("""\
model_list:
  - {model_name: a, litellm_params: {model: demo/echo}}
  - {model_name: film, litellm_params: {model: sora-2, api_key: x}}
  - {model_name: odd, litellm_params: {model: odd-model-3, api_key: x}}
aliases: {fast: nothing, good: a}
keys: [{id: k, secret: sk-k-0123456789abcdef, models: [gone, a, "g*", mine], aliases: {mine: a}}]
""")
    done = run("check", "--json", cwd=tmp_path, LITELLM_LOCAL_MODEL_COST_MAP="True")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["warnings"] == [
        "model_list[1] is not served: a model of this name answers in no protocol of the gateway; if it does, write "
        "model_info.mode chat",
        "model 'odd': litellm knows no provider for 'odd-model-3'; it is not served",
        "the alias 'fast' of the gateway leads to 'nothing', which is not served",
        "the key 'k' may call 'gone', which is neither served nor an alias",
    ]
    assert [model["handler"] for model in report["model_list"]] == ["demo", "none"]


def test_a_health_check_that_cannot_be_made_is_told(run, tmp_path):
    (tmp_path / "gateway.yaml").write_text(
        """\
model_list:
  - model_name: local
    litellm_params: {model: hosted_vllm/llama, api_base: http://10.0.0.7:8000/v1}
  - model_name: echo
    litellm_params: {model: demo/echo}
  - model_name: quiet
    litellm_params: {model: demo/echo, health_check: {seconds: 0}}
health_check: {seconds: 10}
"""
    )
    done = run("check", cwd=tmp_path)
    assert done.returncode == 0
    warning = "health_check is ignored for echo: only the direct handler can ask for a list of models"
    assert f"warning: {warning}\n" in done.stderr
