"""What `keys:` and `--source` stand for."""

import subprocess
import sys

import pytest

from crplugins.keys.chain import Chain
from crplugins.keys.file import FileKeys, FileStore
from crplugins.keys.inline import InlineKey, InlineKeys
from crplugins.keys.jwt import JwtKeys
from crplugins.keys.opening import open_source, open_store
from crplugins.keys.source import Found, SecretRefused, SourceUnavailable
from crplugins.keys.sql import SqlKeys, SqlStore
from crplugins.settings.errors import ConfigError
from tests.keys.conftest import make_key

JWT = {"issuer": "https://i", "audience": "a", "jwks": "j"}


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ([{"id": "a", "secret": "s"}], InlineKeys),
        ([], InlineKeys),
        ({"keys": []}, InlineKeys),
        ({"file": "keys.yaml", "pepper": "p"}, FileKeys),
        ({"sql": "sqlite:///gw.db", "pepper": "p", "migrate": False, "stale_seconds": 60, "cached_keys": 9}, SqlKeys),
        ({"sql": "postgresql://u:p@h/db"}, SqlKeys),
        ({"jwt": JWT}, JwtKeys),
        ([{"file": "keys.yaml"}, {"keys": [{"id": "a", "secret": "s"}]}, {"jwt": JWT}], Chain),
    ],
)
def test_every_form_has_its_source(spec, kind):
    assert type(open_source(spec)) is kind


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("keys.yaml", "keys: must be a list of keys, or a source"),
        ({}, "keys: must be a list of keys, or a source"),
        ({"fiel": "keys.yaml"}, "keys: must be a list of keys, or a source"),
        ({"file": "keys.yaml", "peper": "x"}, "keys.peper: unknown key, did you mean 'pepper'?"),
        ({"file": None}, "keys.file: is missing"),
        ({"file": 7}, "keys.file: must be text, not a number"),
        ({"sql": "mysql://u:hunter2@h/d"}, "keys.sql: must be a sqlite:// or postgresql:// URL"),
        ({"sql": "sqlite:///x", "migrate": "no"}, "keys.migrate: must be true or false"),
        ({"jwt": {**JWT, "issuer": None}}, "keys.jwt.issuer: is missing"),
        ([{"file": "a"}, {"id": "a", "secret": "hunter2"}], "keys[1]: must be a list of keys, or a source"),
        ([{"file": "a"}, {"keys": [{"id": "a"}]}], "keys[1].keys[0]: needs a secret or a hash"),
        ([{"id": "a", "secret": ""}], "keys[0]"),
    ],
)
def test_a_mistake_is_named_with_its_place(spec, said):
    with pytest.raises(ConfigError) as caught:
        open_source(spec)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("keys.yaml", FileStore),
        ({"file": "keys.json"}, FileStore),
        ("sqlite:///gw.db", SqlStore),
        ("postgresql://h/d", SqlStore),
        ({"sql": "sqlite:///gw.db"}, SqlStore),
    ],
)
def test_a_store_is_opened_by_path_url_or_words(source, kind):
    store = open_store(source, pepper="pepper")
    assert type(store) is kind
    assert store.digester.scheme == ("hmac-sha256" if isinstance(source, str) else "sha256")


def test_a_list_or_tokens_cannot_be_changed():
    for source in ({"keys": []}, {"jwt": JWT}):
        with pytest.raises(ConfigError, match="cannot be changed here"):
            open_store(source)


IMPORTS = """
import sys
import crplugins, crplugins.plugins.auth, crplugins.keys.opening
print(*(name for name in ("sqlalchemy", "alembic", "jwt", "yaml", "pydantic", "litellm", "aiohttp") if name in sys.modules))
"""


def test_nothing_heavy_is_imported_before_it_is_asked_for():
    assert subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize(
    ("missing", "spec", "extra"),
    [
        ("sqlalchemy", {"sql": "sqlite:///x"}, "sql"),
        ("asyncpg", {"sql": "postgresql://h/d"}, "postgres"),
        ("jwt", {"jwt": JWT}, "jwt"),
    ],
)
def test_what_is_not_installed_is_named_by_its_extra(missing, spec, extra):
    code = f"import sys; sys.modules[{missing!r}] = None\nfrom crplugins.keys.opening import open_source\nopen_source({spec!r})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
    assert f"ImportError: this source of keys needs: pip install 'crplugins[{extra}]'" in said


class Answers:
    """A source that always answers the same, and writes down when it is opened and closed."""

    def __init__(self, answer, log=None):
        self.answer, self.log = answer, [] if log is None else log

    async def find(self, secret):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def __aenter__(self):
        if self.answer == "broken":
            raise ConnectionError
        self.log.append("open")
        return self

    async def __aexit__(self, *_):
        self.log.append("close")


ONE, TWO = (Found(key, key.secrets[0]) for key in (make_key("one", "s"), make_key("two", "s")))
DOWN, STRANGE, STALE = SourceUnavailable(), SecretRefused("wrong_issuer", "w"), SecretRefused("unknown_signer", "u")


@pytest.mark.parametrize(
    ("answers", "result"),
    [
        ([ONE, TWO], ONE),
        ([None, TWO], TWO),
        ([DOWN, TWO], TWO),
        ([STRANGE, TWO], TWO),
        ([None, None], None),
        ([DOWN, None], DOWN),
        ([STALE, DOWN], DOWN),
        ([STALE, None], STALE),
        ([STRANGE, STALE], STALE),
        ([STALE, STRANGE], STALE),
    ],
)
async def test_a_chain_asks_until_one_has_the_key(answers, result):
    chain = Chain([Answers(answer) for answer in answers])
    if isinstance(result, Exception):
        with pytest.raises(type(result)) as caught:
            await chain.find("s")
        assert caught.value is result
    else:
        assert await chain.find("s") is result


async def test_a_chain_opens_all_and_closes_those_it_has_opened():
    log = []
    async with Chain([Answers(None, log), Answers(None, log)]):
        assert log == ["open", "open"]
    assert log == ["open", "open", "close", "close"]
    log.clear()
    with pytest.raises(ConnectionError):
        async with Chain([Answers(None, log), Answers("broken", log)]):
            pass
    assert log == ["open", "close"]


async def test_inline_keys_are_words_pairs_or_keys():
    keys = InlineKeys([{"id": "a", "secret": "s1"}, InlineKey("b", "s2"), make_key("c", "s3")])
    assert [(await keys.find(secret)).key.id for secret in ("s1", "s2", "s3")] == ["a", "b", "c"]
    assert await keys.find("s4") is None


def test_inline_keys_stand_once():
    with pytest.raises(ConfigError, match=r"keys\[1\].secret: the same secret as keys\[0\]"):
        InlineKeys([InlineKey("a", "s"), {"id": "b", "secret": "s"}])
