"""`crplugins keys lint`: what is wrong with keys, or soon will be."""

# ruff: noqa: F811  # fixtures of another module

import json
from datetime import timedelta

import pytest

from crplugins.cli.keys.lint import weakness
from crplugins.keys.secrets import mint_secret
from tests.cli.test_keys import DIGEST, Command, blockbuster, command, keys, made  # noqa: F401  # fixtures
from tests.keys.conftest import NOW

GOOD = "sk-proj-0123456789abcdefghijkl"
HASH = "sha256:" + "0a" * 32
MODELS = "model_list:\n  - {model_name: gpt-4o, litellm_params: {model: demo/echo}}\n"


def linted(command, *arguments):
    """Exit code and the findings as (check, key, place, message)."""
    code, out, err = command("keys", "lint", "--json", *arguments)
    assert err == ""
    return code, [tuple(finding.values()) for finding in json.loads(out)]


def test_good_keys_are_left_alone(command, tmp_path):
    file = str(tmp_path / "keys.yaml")
    made(command, file)
    assert keys(command, file, "lint") == (0, "1 keys, nothing found wanting.\n", "")
    assert linted(command, "--source", file) == (0, [])


def test_a_file_is_searched_for_everything(command, tmp_path, monkeypatch):
    monkeypatch.setenv("SHORT", "hunter2")
    (tmp_path / "keys.yaml").write_text(f"""keys:
  - {{id: plain, secret: {GOOD}}}
  - {{id: from-environment, secret: "${{SHORT}}"}}
  - {{id: soon, hash: "{HASH}", expires: 2026-06-10}}
  - {{id: twice, secrets: [{{hash: "{HASH}"}}]}}
  - {{id: plain, hash: "sha256:{"0b" * 32}", expires: 2026-05-01}}
  - {{id: gone, hash: "sha256:{"0c" * 32}", not_after: 2026-05-01}}
  - {{id: broken, hash: none}}
  - {{id: unset, secret: "${{NOT_SET_ANYWHERE}}"}}
  - just text
""")
    code, found = linted(command, "--source", "keys.yaml")
    assert code == 1
    assert sorted(found) == sorted([
        ("plaintext", "plain", "keys.yaml, line 2", "its secret stands in plain text; write a hash or ${NAME} in its place"),
        ("weak", "from-environment", "keys.yaml, line 3", "its secret has 7 characters, fewer than 24: it may be guessed"),
        ("ending", "soon", "keys.yaml, line 4", "it ends on 2026-06-10T00:00:00Z, in 8 days"),
        ("duplicate", "twice", "keys.yaml, line 5", "it has a secret of the key in keys.yaml, line 4"),
        ("duplicate", "plain", "keys.yaml, line 6", "it has the id of the key in keys.yaml, line 2"),
        ("ending", "plain", "keys.yaml, line 6", "it expired on 2026-05-01T00:00:00Z"),
        ("no_live_secret", "gone", "keys.yaml, line 7", "it has no live secret; disable it if that is meant"),
        ("entry", "broken", "keys.yaml, line 8", "hash: must be sha256: or hmac-sha256: with 64 hexadecimal digits after it"),
        ("entry", "unset", "keys.yaml, line 9", "secret: the environment variable NOT_SET_ANYWHERE is not set"),
        ("entry", "", "keys.yaml, line 10", "must be a mapping, not text"),
    ])  # fmt: skip
    text = keys(command, "keys.yaml", "lint")[1]
    assert "keys.yaml, line 3: key 'from-environment': its secret has 7 characters" in text
    assert "hunter2" not in text
    assert GOOD not in text


def test_a_rotated_key_does_not_end_with_its_old_secret(command, tmp_path):
    made(command, "keys.yaml")
    keys(command, "keys.yaml", "rotate", "team-a", "--overlap", "24h")
    assert linted(command, "--source", "keys.yaml") == (0, [])


def test_a_key_that_ends_in_31_days_is_left_alone_and_found_a_day_later(command):
    made(command, "keys.yaml", "--expires", (NOW + timedelta(days=31)).isoformat())
    assert linted(command, "--source", "keys.yaml") == (0, [])
    command.now += timedelta(days=1)
    code, found = linted(command, "--source", "keys.yaml")
    assert (code, found[0][0]) == (1, "ending")


def test_what_was_disabled_on_purpose_is_left_alone(command):
    made(command, "keys.yaml")
    keys(command, "keys.yaml", "revoke", "team-a")
    assert linted(command, "--source", "keys.yaml")[0] == 1
    keys(command, "keys.yaml", "disable", "team-a")
    assert linted(command, "--source", "keys.yaml") == (0, [])


def test_a_database_is_searched_too(command, tmp_path):
    url = f"sqlite:///{tmp_path}/gw.db"
    made(command, url, "--expires", "2026-06-02", "--model", "gpt-5")
    (tmp_path / "gw.yaml").write_text(MODELS)
    assert linted(command, "--source", url, "--config", "gw.yaml") == (1, [
        ("ending", "team-a", "", "it ends on 2026-06-02T00:00:00Z, in 0 days"),
        ("models", "team-a", "", "it may call 'gpt-5', which no deployment serves"),
    ])  # fmt: skip


def test_models_nobody_serves_are_found_in_the_keys_of_a_configuration(command, tmp_path, monkeypatch):
    monkeypatch.setenv("A_KEY", GOOD)
    (tmp_path / "gateway.yaml").write_text(
        MODELS + "aliases: {fast: gpt-4o, lost: gone, 'old-*': gpt-4o}\n"
        "keys:\n"
        "  - {id: good, secret: '${A_KEY}', models: [gpt-4o, fast, 'gpt-*', old-1, 'old*']}\n"
        f"  - {{id: bad, hash: '{HASH}', models: [gpt-5, lost, 'claude*'], aliases: {{own: nowhere, mine: fast}}}}\n"
    )
    place = "gateway.yaml, line 6"
    assert linted(command) == (1, [
        ("models", "bad", place, f"it may call '{name}', which no deployment serves")
        for name in ("gpt-5", "lost", "claude*", "own")
    ])  # fmt: skip


def test_several_sources_of_a_configuration_are_searched(command, tmp_path):
    made(command, "keys.yaml", "--model", "gone")
    (tmp_path / "gateway.yaml").write_text(
        MODELS + f"keys:\n  - keys:\n    - {{id: plain, secret: {GOOD}}}\n  - {{file: keys.yaml}}\n"
        "  - jwt: {issuer: 'https://id.example.com', audience: gw, jwks: 'https://id.example.com/keys'}\n"
    )
    code, found = linted(command)
    assert code == 1
    assert [(check, place) for check, _, place, _ in found] == [
        ("plaintext", "gateway.yaml, line 5"),
        ("models", "keys.yaml, line 2"),
    ]


def test_the_same_id_in_two_sources_is_found(command, tmp_path):
    made(command, "keys.yaml")
    (tmp_path / "gateway.yaml").write_text(
        f"keys:\n  - keys: [{{id: team-a, hash: '{HASH}'}}]\n  - {{file: keys.yaml}}\n"
    )
    assert [finding[0] for finding in linted(command)[1]] == ["duplicate"]


def test_a_file_that_is_none_ends_with_2(command, tmp_path):
    (tmp_path / "keys.yaml").write_text("keys: [}")
    code, out, err = keys(command, "keys.yaml", "lint", "--json")
    assert (code, out) == (2, "")
    assert err.startswith("keys.yaml, line 1: not valid YAML")


@pytest.mark.parametrize(
    ("secret", "weak"),
    [
        (GOOD, None),
        pytest.param(mint_secret(), None, id="minted"),
        ("sk-" + "ab" * 30, "different characters"),
        ("short", "5 characters"),
        ("sk-crp_" + "0" * 49, "wrong checksum"),
    ],
)
def test_a_secret_is_judged_without_being_shown(secret, weak):
    found = weakness(secret)
    assert (found is None) == (weak is None)
    assert weak is None or (weak in found and secret not in found)
