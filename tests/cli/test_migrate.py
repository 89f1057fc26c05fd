"""`crplugins check --litellm` and `crplugins migrate`: a LiteLLM user's file, as its user would try them."""

import json

from tests.config.litellm.examples import USERS

TEAM = USERS["a gateway for a team"]


def test_the_report_has_a_line_for_each_key_and_its_exit_code_says_whether_one_is_lost(run, tmp_path):
    (tmp_path / "config.yaml").write_text(TEAM)
    done = run("check", "--litellm", "config.yaml", cwd=tmp_path)
    assert done.returncode == 1
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in (
        "26 litellm_settings.drop_params honoured for models that litellm translates; a server that speaks OpenAI's wire is "
        "sent what the client sends",
        "32 litellm_settings.cache_params.password warned as litellm_settings.cache_params",
        "41 general_settings.database_url warned write 'keys: {sql: ...}' and 'ledger.url'",
    ):
        assert line in lines, done.stdout
    assert lines[-2].startswith("57 keys: ")
    assert lines[-1] == "not set in this environment: ANTHROPIC_API_KEY, DATABASE_URL, LITELLM_MASTER_KEY, OPENAI_API_KEY, REDIS_PASSWORD"  # fmt: skip
    report = json.loads(run("check", "--litellm", "config.yaml", "--json", cwd=tmp_path).stdout)
    assert sum(report["totals"].values()) == len(report["keys"]) == 57
    assert (report["models"], report["left_out"]) == (["fast", "smart", "embed"], ["3"])


def test_nothing_lost_is_exit_code_0_and_nothing_served_2(run, tmp_path):
    (tmp_path / "good.yaml").write_text("model_list: [{model_name: a, litellm_params: {model: openai/m, api_key: x}}]\nlitellm_settings: {drop_params: true}\n")  # fmt: skip
    (tmp_path / "none.yaml").write_text("model_list: [{model_name: a, litellm_params: {model: openai/sora-2}}]\n")
    assert run("check", "--litellm", "good.yaml", cwd=tmp_path).returncode == 0
    done = run("check", "--litellm", "none.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("none.yaml, line 1: model_list[0]: is not served")


def test_what_migrate_writes_passes_check_and_has_the_comments_of_the_file(run, tmp_path):
    (tmp_path / "config.yaml").write_text(TEAM)
    done = run("migrate", "config.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "gateway.yaml").write_text(done.stdout)
    for line in (
        "# Our gateway",
        "# the fast one",
        "# for chats",
        "id: master-key",
        "${OPENAI_API_KEY}",
        "drop_params: true",
    ):
        assert line in done.stdout
    assert "#   line 41: general_settings.database_url: write 'keys: {sql: ...}' and 'ledger.url'" in done.stdout
    assert "litellm_settings:" not in done.stdout
    variables = {"OPENAI_API_KEY": "sk-o", "ANTHROPIC_API_KEY": "sk-a", "LITELLM_MASTER_KEY": "sk-master-0123456789"}
    checked = run("check", "--json", cwd=tmp_path, litellm=True, **variables)
    assert checked.returncode == 0, checked.stderr
    assert [model["model_name"] for model in json.loads(checked.stdout)["model_list"]] == ["fast", "smart", "embed"]


def test_a_file_that_cannot_be_read_is_named(run, tmp_path):
    done = run("migrate", "nowhere.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "nowhere.yaml: there is no such file\n")


def test_the_schema_is_printed_for_editors(run):
    done = run("schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["title"] == "gateway.yaml, the configuration of crplugins"


def test_a_model_whose_name_stands_in_a_variable_is_migrated_where_that_is_not_set(run, tmp_path):
    (tmp_path / "config.yaml").write_text(
        "model_list:\n  - model_name: a\n    litellm_params: {model: os.environ/MODEL_OF_TODAY, api_key: x}\n"
        "litellm_settings: {drop_params: true}\n"
    )
    done = run("migrate", "config.yaml", cwd=tmp_path)
    assert done.returncode == 0
    assert "model: '${MODEL_OF_TODAY}'" in done.stdout
    assert "is not served" not in done.stdout + done.stderr
    assert "not set in this environment: MODEL_OF_TODAY" in done.stderr


def test_a_file_whose_every_model_has_a_provider_that_nobody_knows_is_not_migrated(run, tmp_path):
    (tmp_path / "config.yaml").write_text(
        "model_list:\n  - model_name: a\n    litellm_params: {model: provider/model-name, api_key: x}\n"
        "litellm_settings: {drop_params: true}\n"
    )
    said = "config.yaml, line 2: model_list[0]: model 'a': litellm knows no provider for 'provider/model-name'\n"
    for command in (("migrate",), ("check", "--litellm")):
        done = run(*command, "config.yaml", cwd=tmp_path, litellm=True)
        assert (done.returncode, done.stderr) == (2, said)
