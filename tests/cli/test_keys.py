"""`crplugins keys`: a key's life on a file, SQLite and PostgreSQL, as the command shows it."""

import asyncio
import json
import re
import stat
from datetime import timedelta
from hashlib import sha256

import pytest
import yaml

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.cli.app import run as run_command
from crplugins.keys.opening import open_source
from crplugins.keys.secrets import has_valid_checksum
from crplugins.plugins.auth import Auth
from crplugins.testing import drive
from tests.keys.conftest import NOW
from tests.postgresql_setup import postgres_url  # noqa: F401  # fixture

SECRET = re.compile(r"sk-crp_[0-9A-Za-z]{49}")
DIGEST = re.compile(r"[0-9a-f]{64}")
FOREIGN = "sk-proj-0123456789abcdefghijkl"


class Command:
    """`crplugins` in this process, its clock standing still. Every output is searched for digests."""

    def __init__(self, monkeypatch, capsys):
        self.now = NOW
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments):
        """Exit code, stdout, stderr."""
        self._monkeypatch.setattr("sys.argv", ["crplugins", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_command(lambda: self.now)
        out, err = self._capsys.readouterr()
        assert not DIGEST.search(out + err)
        return ended.value.code, out, err


@pytest.fixture(autouse=True)
def blockbuster():
    """Nothing: a command has its event loop to itself, and may block it."""


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("CRPLUGINS_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys)


@pytest.fixture(params=["file", "json", "sqlite", "postgres"])
def source(request, tmp_path):
    """A `--source` with nothing in it yet."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return {
        "file": str(tmp_path / "keys.yaml"),
        "json": str(tmp_path / "keys.json"),
        "sqlite": f"sqlite:///{tmp_path}/gw.db",
    }[request.param]


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "keys.yaml")


def keys(command, source, *arguments):
    return command("keys", *arguments, "--source", source)


def made(command, source, *arguments):
    """The secret of a new key."""
    code, out, _ = keys(command, source, "new", "--id", "team-a", *arguments)
    assert code == 0
    return out.splitlines()[-1]


def shown(command, source, key_id="team-a"):
    code, out, err = keys(command, source, "show", key_id, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def answer(source, secret, now):
    """The status and the message of a request with `secret` at `now`, of a gateway that has just started."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def ask():
        async with open_source({"sql" if "://" in source else "file": source}) as keys:
            guarded = PluginMiddleware(app, plugins=[Auth(_Open(keys), now=lambda: now)])
            return await drive(guarded, "GET", "/v1/models", headers={"authorization": f"Bearer {secret}"})

    got = asyncio.run(ask())
    return got.status, got.json().get("error", {}).get("message", "")


class _Open:
    """A source somebody else opens and closes."""

    def __init__(self, source):
        self.find = source.find

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


def test_a_keys_whole_life(command, source):
    first = made(command, source)
    assert has_valid_checksum(first)
    assert answer(source, first, command.now) == (200, "")

    command.now += timedelta(days=1)
    code, out, err = keys(command, source, "rotate", "team-a", "--overlap", "24h")
    assert "The new secret of 'team-a' is shown once; every gateway takes it within 2 seconds:" in err
    second = out.splitlines()[-1]
    assert code == 0
    assert f"{first[:7]}…{first[-4:]} goes on until 2026-06-03T12:00:00Z." in err
    assert [answer(source, secret, command.now)[0] for secret in (first, second)] == [200, 200]
    after = command.now + timedelta(hours=24)
    assert answer(source, first, after) == (401, "This API key has been revoked or replaced.")
    assert answer(source, second, after)[0] == 200

    assert keys(command, source, "disable", "team-a")[0] == 0
    assert answer(source, second, command.now) == (401, "This API key is disabled.")
    assert keys(command, source, "enable", "team-a")[0] == 0
    assert answer(source, second, command.now)[0] == 200

    assert keys(command, source, "revoke", "team-a")[0] == 0
    for secret in (first, second):
        assert answer(source, secret, command.now) == (401, "This API key has been revoked or replaced.")
    assert shown(command, source)["state"] == "revoked"


def test_a_change_names_what_changes_and_a_deleted_key_is_unknown(command, source):
    secret = made(command, source, *"--team a --model m --limit requests_per_minute=5 --tag x=1 --budget 5/day".split())
    given = (
        "--team b --limit tokens_per_day=9 --tag y=2 --unset limits.requests_per_minute --unset budget --unset models"
    )
    code, out, _ = keys(command, source, "update", "team-a", *given.split(), "--json")
    key = json.loads(out)
    assert code == 0
    assert (key["team"], key["limits"], key["budget"], key["models"]) == ("b", {"tokens_per_day": 9}, None, None)
    assert key["tags"] == {"x": "1", "y": "2"}
    assert shown(command, source)["limits"] == {"tokens_per_day": 9}
    assert answer(source, secret, command.now) == (200, "")
    assert keys(command, source, "delete", "team-a")[0] == 0
    assert answer(source, secret, command.now)[0] == 401
    assert keys(command, source, "delete", "team-a")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("", 2, "name what to change"),
        ("--unset limts", 2, "limts: is not known here, did you mean 'limits'?"),
        ("--unset limits.rpm", 2, "limits.rpm: is not known here"),
        ("--unset id", 2, "id: cannot be changed"),
        ("--unset budget --budget usd=5/day", 2, "is given besides"),
        ("--unset tags.", 2, "is no name"),
        ("--limit rpm=5", 2, "limits.rpm"),
        ("--set weight", 2, "is not of the form name=value"),
        ("--set weight=heavy", 2, "weight: must be a whole number"),
        ("--set limits.requests_per_minute.x=5", 2, "limits.requests_per_minute: must be"),
        ("--limit requests_per_minute=5 --set limits.requests_per_minute.x=5", 2, "is given besides"),
        ("--limit requests_per_minute=5 --set limits.requests_per_minute=6", 2, "is given besides"),
        ("--set id=b", 2, "id: cannot be changed"),
        ("--set .=b", 2, "is no name"),
        ("--expires 2020-01-01", 2, "expires: has passed already"),
    ],
)
def test_a_change_that_cannot_be_made_is_named_and_changes_nothing(command, file, arguments, code, said):
    made(command, file)
    before = shown(command, file)
    got, _, err = keys(command, file, "update", "team-a", *arguments.split())
    assert (got, said in " ".join(err.split())) == (code, True), err
    assert shown(command, file) == before


def test_the_policy_given_to_a_new_key_is_shown(command, source):
    made(
        command, source,
        *"--team search --owner ann --tag env=prod --tag cost=4=2 --model gpt-4o --model gpt-3.5*".split(),
        *"--expires 2027-01-01 --not-before 2026-06-01 --limit requests_per_minute=60 --limit tokens_per_day=9".split(),
        *"--budget usd=12.50/month --priority high".split(),
    )  # fmt: skip
    key = shown(command, source)
    hint = key["secrets"][0].pop("hint")
    assert re.fullmatch(r"sk-crp_….{4}", hint)
    assert key == {
        "id": "team-a", "team": "search", "owner": "ann", "tags": {"env": "prod", "cost": "4=2"},
        "models": ["gpt-4o", "gpt-3.5*"], "models_shadow": False, "weight": 1, "admin": False, "priority": "high",
        "aliases": {}, "state": "live", "disabled": False,
        "limits": {"requests_per_minute": 60, "tokens_per_day": 9}, "budget": {"usd": 12.5, "period": "month"},
        "on_disconnect": None, "missing_usage": None, "standing": None,
        "created_at": "2026-06-01T12:00:00Z", "not_before": "2026-06-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z",
        "secrets": [{"created_at": "2026-06-01T12:00:00Z", "not_after": None, "live": True}],
    }  # fmt: skip


def test_every_other_word_of_a_key_is_set_and_taken_back_by_its_name(command, source):
    made(command, source, "--limit", "requests_per_minute=60")
    given = {
        "weight": "3", "admin": "true", "on_disconnect": "drain", "aliases.gpt-3.5*": "gpt-4o", "tags.a.b": "1.0",
        "limits.burst.requests_per_minute": "10", "limits.queue.seconds": "2.5", "models": '["m"]',
        "models_shadow": "true",
    }  # fmt: skip
    arguments = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
    code, _, err = keys(command, source, "update", "team-a", *arguments)
    assert code == 2, "a tag is a text, and 1.0 is none"
    assert "tags: must be texts" in err
    arguments[arguments.index("tags.a.b=1.0")] = 'tags.a.b="1.0"'
    assert keys(command, source, "update", "team-a", *arguments)[0] == 0
    key = shown(command, source)
    assert (key["weight"], key["admin"], key["on_disconnect"], key["models"]) == (3, True, "drain", ["m"])
    assert (key["aliases"], key["tags"], key["models_shadow"]) == ({"gpt-3.5*": "gpt-4o"}, {"a.b": "1.0"}, True)
    assert key["limits"] == {
        "requests_per_minute": 60, "burst": {"requests_per_minute": 10}, "queue": {"seconds": 2.5, "length": 100},
    }  # fmt: skip
    names = [part for name in given for part in ("--unset", name)]
    names[names.index("limits.queue.seconds")] = "limits.queue"
    assert keys(command, source, "update", "team-a", *names)[0] == 0
    key = shown(command, source)
    assert (key["weight"], key["admin"], key["aliases"], key["tags"], key["models"]) == (1, False, {}, {}, None)
    assert key["limits"] == {"requests_per_minute": 60}


def test_who_changed_what_is_told(command, source):
    secret = made(command, source, "--owner", "ann")
    command.now += timedelta(hours=1)
    keys(command, source, "update", "team-a", "--owner", "ben", "--limit", "requests_per_minute=5")
    keys(command, source, "new", "--id", "b")
    code, out, err = keys(command, source, "audit", "team-a", "--json")
    assert (code, err) == (0, "")
    update, new = json.loads(out)
    assert (update["action"], update["before"], update["after"]) == (
        "update", {"owner": "ann", "limits": None}, {"owner": "ben", "limits": {"requests_per_minute": 5}},
    )  # fmt: skip
    assert (new["action"], new["via"], new["at"]) == ("new", "command", "2026-06-01T12:00:00Z")
    assert "@" in new["actor"]
    table = keys(command, source, "audit")[1]
    actor = new["actor"]
    assert (
        f"2026-06-01T13:00:00Z  {actor}  update  team-a  owner: ann -> ben, limits: - -> {{requests_per_minute: 5}}"
        in table.splitlines()
    )
    assert len(json.loads(keys(command, source, "audit", "--since", "30m", "--json")[1])) == 2
    assert len(json.loads(keys(command, source, "audit", "--limit", "1", "--json")[1])) == 1
    assert json.loads(keys(command, source, "audit", "--actor", "nobody", "--json")[1]) == []
    assert keys(command, source, "audit", "--since", "soon")[0] == 2
    assert secret not in out + table


def test_a_keys_priority_is_changed_and_taken_back(command, source):
    made(command, source)
    assert shown(command, source)["priority"] == "normal"
    assert keys(command, source, "update", "team-a", "--priority", "low")[0] == 0
    assert shown(command, source)["priority"] == "low"
    assert keys(command, source, "update", "team-a", "--priority", "urgent")[0] == 2
    assert keys(command, source, "update", "team-a", "--unset", "priority")[0] == 0
    assert shown(command, source)["priority"] == "normal"


def test_states_are_told_by_the_clock(command, source):
    made(command, source, "--not-before", "2026-07-01", "--expires", "2026-08-01")
    states = []
    for day in ("2026-06-30", "2026-07-01", "2026-07-31", "2026-08-01"):
        command.now = NOW.replace(month=int(day[5:7]), day=int(day[8:]))
        states.append(shown(command, source)["state"])
    assert states == ["not yet valid", "live", "live", "expired"]
    keys(command, source, "disable", "team-a")
    assert shown(command, source)["state"] == "disabled"


def test_a_list_shows_every_key_and_no_secret(command, source):
    secrets = [made(command, source), keys(command, source, "new", "--id", "b", "--team", "ops")[1].strip()]
    code, out, err = keys(command, source, "list", "--json")
    assert (code, err) == (0, "")
    assert [(key["id"], key["team"], key["state"]) for key in json.loads(out)] == [
        ("b", "ops", "live"),
        ("team-a", None, "live"),
    ]
    texts = [out, keys(command, source, "list")[1], keys(command, source, "show", "b")[1]]
    assert all("team-a" in text for text in texts[:2])
    assert "ops" in texts[1]
    assert not any(secret in text for secret in secrets for text in texts)


def test_json_stands_alone_on_stdout(command, source):
    _, out, err = keys(command, source, "new", "--id", "team-a", "--json")
    assert json.loads(out).keys() == {"id", "secret"}
    assert json.loads(out)["id"] == "team-a"
    assert not SECRET.search(err)
    _, rotated, err = keys(command, source, "rotate", "team-a", "--json")
    assert json.loads(rotated).keys() == {"id", "secret"}
    assert json.loads(rotated)["secret"] != json.loads(out)["secret"]
    assert not SECRET.search(err)
    for arguments in (("disable", "team-a"), ("enable", "team-a"), ("revoke", "team-a")):
        assert json.loads(keys(command, source, *arguments, "--json")[1])["id"] == "team-a"


def test_a_foreign_key_is_taken_over_by_its_hash_or_from_the_environment(command, source, monkeypatch):
    digest = sha256(FOREIGN.encode()).hexdigest()
    assert keys(command, source, "import", "--id", "by-hash", "--hash", f"sha256:{digest}")[0] == 0
    monkeypatch.setenv("OLD_KEY", FOREIGN + "2")
    code, out, err = keys(command, source, "import", "--id", "by-env", "--env", "OLD_KEY", "--team", "search")
    assert (code, out, err) == (0, "The key 'by-env' is taken over.\n", "")
    assert [answer(source, secret, NOW)[0] for secret in (FOREIGN, FOREIGN + "2", FOREIGN + "3")] == [200, 200, 401]
    assert shown(command, source, "by-env")["secrets"][0]["hint"] == "sk-…jkl2"
    assert shown(command, source, "by-hash")["secrets"][0]["hint"] == "…"


def test_a_weak_foreign_secret_is_warned_about_and_not_shown(command, file, monkeypatch):
    monkeypatch.setenv("OLD_KEY", "hunter2hunter2")
    code, out, err = keys(command, file, "import", "--id", "old", "--env", "OLD_KEY")
    assert code == 0
    assert err == "warning: the secret in OLD_KEY has 14 characters, fewer than 24: it may be guessed\n"
    assert "hunter2" not in out


def test_what_is_refused_ends_with_1_and_a_sentence(command, source):
    made(command, source)
    for arguments, sentence in {
        ("new", "--id", "team-a"): "there is a key 'team-a' already\n",
        ("rotate", "team-b"): "there is no key 'team-b', did you mean 'team-a'?\n",
        ("revoke", "team-b"): "there is no key 'team-b', did you mean 'team-a'?\n",
        ("disable", "nothing-like-it"): "there is no key 'nothing-like-it'\n",
        ("show", "team-b"): "there is no key 'team-b', did you mean 'team-a'?\n",
    }.items():
        assert keys(command, source, *arguments) == (1, "", sentence)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("new --id b --limit rpm=60", "limits.rpm: unknown key"),
        ("new --id b --limit requests_per_minute=many", "limits.requests_per_minute: must be a whole number"),
        ("new --id b --limit requests_per_minute", "'requests_per_minute' is not of the form name=value"),
        ("new --id b --budget 50", "'50' is not of the form 50/month"),
        ("new --id b --budget usd=50/year", "budget.period: must be one of day, week, month, total"),
        ("new --id b --budget usd=much/day", "budget.usd: must be an amount"),
        ("new --id b --expires tomorrow", "expires: must be a date such as 2027-01-01"),
        ("new --id b --expires 2026-05-31", "expires: has passed already"),
        ("new --id b --not-before 2027-01-01 --expires 2026-12-31", "expires: is not after not_before"),
        ("new", "Missing option '--id'"),
        ("rotate team-a --overlap 24", "'24' is no duration such as 24h, 7d or 30m"),
        ("rotate team-a --overlap -1h", "is no duration"),
        ("import --id b", "give one of --hash sha256:HEX and --env NAME"),
        ("import --id b --env NO_SUCH_VARIABLE", "the environment variable NO_SUCH_VARIABLE is not set"),
        ("import --id b --hash md5:00", "hash: must be sha256: or hmac-sha256:"),
        ("list --pepper-env NO_SUCH_VARIABLE", "the environment variable NO_SUCH_VARIABLE is not set"),
    ],
)
def test_wrong_usage_ends_with_2_and_changes_nothing(command, file, arguments, sentence):
    made(command, file)
    code, out, err = keys(command, file, *arguments.split())
    assert (code, out) == (2, "")
    assert sentence in err
    assert [key["id"] for key in json.loads(keys(command, file, "list", "--json")[1])] == ["team-a"]


def test_durations_are_written_with_their_unit(command, file):
    made(command, file)
    for overlap, end in {"90s": "12:01:30", "30m": "12:30:00", "24h": None, "0": "12:00:00"}.items():
        code, _, err = keys(command, file, "rotate", "team-a", "--overlap", overlap)
        assert code == 0
        assert ("goes on until" in err) == (overlap != "0")
        assert end is None or overlap == "0" or f"T{end}Z" in err


def test_a_secret_given_for_an_id_is_not_repeated(command, file):
    secret = made(command, file)
    code, out, err = keys(command, file, "revoke", secret)
    assert (code, out) == (2, "")
    assert "this is a secret; the key's id is wanted" in err
    assert secret not in err


@pytest.mark.parametrize("name", ["no.yaml", "sqlite:///no.db"])
def test_a_source_that_is_not_there_is_no_empty_one(command, name, tmp_path):
    for arguments in (("list",), ("show", "a"), ("rotate", "a"), ("lint",)):
        code, out, err = keys(command, name, *arguments)
        assert (code, out) == (2, "")
        assert err == f"{name.removeprefix('sqlite:///')}: there is no such file\n"
    assert list(tmp_path.iterdir()) == []


def test_a_broken_file_is_told_with_its_line_and_ends_with_2(command, file, tmp_path):
    (tmp_path / "keys.yaml").write_text("keys:\n  - {id: a, hash: 12}\n")
    code, out, err = keys(command, file, "new", "--id", "b")
    assert (code, out) == (2, "")
    assert err.startswith("keys.yaml, line 2: keys[0].hash: ")


def test_a_database_out_of_reach_ends_with_1(command):
    code, out, err = keys(command, "postgresql://me:sk-hidden@127.0.0.1:1/gw", "list")
    assert (code, out) == (1, "")
    assert err.startswith("the keys are unavailable: ")
    assert "sk-hidden" not in err


def test_a_url_of_another_kind_ends_with_2(command):
    code, _, err = keys(command, "mysql://me:sk-hidden@host/gw", "list")
    assert code == 2
    assert "must be a sqlite:// or postgresql:// URL" in err
    assert "sk-hidden" not in err


def test_a_new_file_is_its_owners_alone_and_holds_no_secret(command, file, tmp_path):
    secret = made(command, file)
    assert stat.S_IMODE((tmp_path / "keys.yaml").stat().st_mode) == 0o600
    assert secret not in (tmp_path / "keys.yaml").read_text()


def test_with_a_pepper_the_file_holds_hmacs(command, file, tmp_path, monkeypatch):
    monkeypatch.setenv("PEPPER", "black")
    secret = made(command, file, "--pepper-env", "PEPPER")
    assert "hash: hmac-sha256:" in (tmp_path / "keys.yaml").read_text()
    code, _, err = keys(command, file, "list")
    assert code == 2
    assert "hmac-sha256 needs the pepper it was made with" in err
    assert secret not in err


@pytest.mark.parametrize("spec", ["{file: my-keys.yaml}", "{sql: 'sqlite:///my.db', pepper: black}"])
def test_the_configurations_source_is_the_default(command, tmp_path, spec):
    (tmp_path / "gateway.yaml").write_text(f"keys: {spec}\n")
    assert command("keys", "new", "--id", "a")[0] == 0
    assert [key["id"] for key in json.loads(command("keys", "list", "--json")[1])] == ["a"]
    (tmp_path / "gateway.yaml").rename(tmp_path / "gw.yaml")
    assert [key["id"] for key in json.loads(command("keys", "list", "--json", "--config", "gw.yaml")[1])] == ["a"]


def test_of_several_sources_the_one_that_can_be_changed_is_meant(command, tmp_path):
    (tmp_path / "gateway.yaml").write_text(
        f"keys:\n  - keys: [{{id: inline, secret: {FOREIGN}}}]\n  - {{file: my-keys.yaml}}\n"
    )
    assert command("keys", "new", "--id", "a")[0] == 0
    assert [key["id"] for key in yaml.safe_load((tmp_path / "my-keys.yaml").read_text())["keys"]] == ["a"]
    (tmp_path / "gateway.yaml").write_text("keys: [{file: my-keys.yaml}, {file: more.yaml}]\n")
    assert [key["id"] for key in json.loads(command("keys", "list", "--source", "my-keys.yaml", "--json")[1])] == ["a"]
    assert command("keys", "new", "--id", "b", "--source", "more.yaml")[0] == 0
    assert [key["id"] for key in json.loads(command("keys", "list", "--json")[1])] == ["a", "b"]
    code, _, err = command("keys", "revoke", "a")
    assert code == 2
    assert "gateway.yaml, line 1: keys: holds several sources that can be changed; choose one with --source" in err


def test_a_list_in_the_configuration_is_shown(command, tmp_path):
    (tmp_path / "gateway.yaml").write_text(
        f"keys:\n  - {{file: keys.yaml}}\n  - keys: [{{id: b, secret: {FOREIGN}, team: ops}}]\n"
        "  - {jwt: {issuer: 'https://id.example.com', audience: gw, jwks: 'https://id.example.com/keys'}}\n"
    )
    command("keys", "new", "--id", "a")
    code, out, err = command("keys", "list", "--json")
    assert (code, err) == (0, "note: keys that are tokens are known to their issuer alone, and not shown\n")
    assert [(key["id"], key["team"]) for key in json.loads(out)] == [("a", None), ("b", "ops")]
    shown = json.loads(command("keys", "show", "b", "--json")[1])
    assert (shown["team"], [secret["hint"] for secret in shown["secrets"]]) == ("ops", ["sk-…ijkl"])
    assert FOREIGN not in out + command("keys", "show", "b")[1]
    assert "there is no key 'c'" in command("keys", "show", "c")[2]


def test_a_list_in_the_configuration_is_not_changed_and_the_way_out_is_named(command, tmp_path):
    (tmp_path / "gateway.yaml").write_text(f"keys:\n  - {{id: a, secret: {FOREIGN}}}\n")
    for arguments in (("new", "--id", "b"), ("update", "a", "--team", "x"), ("audit",)):
        code, out, err = command("keys", *arguments)
        assert (code, out) == (2, "")
        assert err == (
            "gateway.yaml, line 1: keys: stand in the configuration itself, which no command changes. Move the list to "
            "a file of its own, keys.yaml, that begins with 'keys:' as here, and write 'keys: {file: keys.yaml}' in "
            "its place\n"
        )


def test_tokens_of_an_identity_provider_cannot_be_changed(command, tmp_path):
    (tmp_path / "gateway.yaml").write_text(
        "keys: {jwt: {issuer: 'https://id.example.com', audience: gw, jwks: 'https://id.example.com/keys'}}\n"
    )
    code, _, err = command("keys", "list")
    assert code == 2
    assert "come from an identity provider, which alone can change them" in err


def test_without_any_keys_the_options_are_named(command, tmp_path):
    assert command("keys", "list") == (
        2, "", "there is no configuration; name them with --source keys.yaml or --source sqlite:///gw.db\n",
    )  # fmt: skip
    (tmp_path / "gateway.yaml").write_text("server: {port: 1}\n")
    assert "gateway.yaml names no keys" in command("keys", "list")[2]


def test_the_command_itself_works_on_the_default_configuration(run, tmp_path):
    (tmp_path / "gateway.yaml").write_text("keys: {file: keys.yaml}\n")
    made = run("keys", "new", "--id", "team-a", cwd=tmp_path)
    assert made.returncode == 0
    secret = made.stdout.splitlines()[-1]
    assert answer(str(tmp_path / "keys.yaml"), secret, NOW)[0] == 200
    rotated = run("keys", "rotate", "team-a", "--overlap", "0", "--json", cwd=tmp_path)
    assert json.loads(rotated.stdout)["id"] == "team-a"
    listed = run("keys", "list", "--json", cwd=tmp_path)
    assert [secret["live"] for secret in json.loads(listed.stdout)[0]["secrets"]] == [False, True]
    assert run("keys", "revoke", "team-b", cwd=tmp_path).returncode == 1
    assert run("keys", "--help").returncode == 0


def test_a_keys_budget_limits_and_models_may_be_shadows(command, source):
    made(
        command, source,
        *"--model gpt-4o --limit requests_per_minute=60 --budget usd=5/day".split(),
        *"--shadow limits --shadow budget --shadow models".split(),
    )  # fmt: skip
    key = shown(command, source)
    assert key["limits"] == {"requests_per_minute": 60, "shadow": True}
    assert key["budget"] == {"usd": 5, "period": "day", "shadow": True}
    assert (key["models"], key["models_shadow"]) == (["gpt-4o"], True)


def test_what_is_not_there_is_no_shadow(command, source):
    code, _, err = keys(command, source, "new", "--id", "a", "--shadow", "budget")
    assert code == 2
    assert "there is no --budget that could be one" in " ".join(err.split())
