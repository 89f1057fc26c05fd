"""Figures that pages state are those of the code."""

import pytest

from crplugins.cli.connections import MOST_PIPELINED
from crplugins.core.sse import MAX_DOCUMENT_BYTES
from crplugins.handlers.direct_stream import _GRACE_SECONDS, _USAGE_GRACE_SECONDS
from crplugins.handlers.routing.checks import CHECK_SECONDS
from crplugins.handlers.routing.health import LONGEST_COOLDOWN, LONGEST_RETRY_AFTER
from crplugins.handlers.routing.on_break import HOLD_SECONDS
from crplugins.handlers.routing.settings import COOLDOWN_SECONDS
from crplugins.homes.webhooks.plugin import BUDGET_SECONDS, CLOSING_SECONDS, KEY_SECONDS
from crplugins.keys.file.source import QUIET_SECONDS as FILE_QUIET_SECONDS
from crplugins.keys.jwt.signing_keys import QUIET_SECONDS
from crplugins.keys.sections import DEFAULT_STALE_SECONDS
from crplugins.keys.sql.source import UNKNOWN_SECONDS
from crplugins.limits.availability import FIRST_SECONDS, LONGEST_SECONDS
from crplugins.limits.sqlite.thread import BUSY_SECONDS
from tests.documents.pages import text_of

STATED = [
    ("SECURITY.md", f"cools down ({COOLDOWN_SECONDS:g} s at first, at most {LONGEST_RETRY_AFTER:g})"),
    ("SECURITY.md", f"one fetch every {QUIET_SECONDS:g} s by tokens with unknown key ids"),
    ("SECURITY.md", f"unknown secrets ({UNKNOWN_SECONDS:g} s, 10,000)"),
    ("SECURITY.md", f"a whole answer may have {MAX_DOCUMENT_BYTES >> 20} MiB"),
    ("crplugins/handlers/README.md", f"cools down for {COOLDOWN_SECONDS:g} s (`cooldown_time`)"),
    ("crplugins/handlers/README.md", f"that its outage has lasted, at most {LONGEST_COOLDOWN:g} s."),
    ("crplugins/handlers/README.md", f"Without an answer within {CHECK_SECONDS:g} s"),
    ("crplugins/handlers/README.md", f"by default {HOLD_SECONDS:g}\n"),
    ("crplugins/handlers/README.md", f"ended after {_GRACE_SECONDS:g} s without `[DONE]`"),
    ("crplugins/handlers/README.md", f"if its usage has come, else after {_USAGE_GRACE_SECONDS:g} s"),
    ("crplugins/handlers/README.md", f"or longer than {MAX_DOCUMENT_BYTES >> 20} MiB after decompression"),
    ("crplugins/homes/README.md", f"| requests sent ahead of an answer | {MOST_PIPELINED} |"),
    ("crplugins/homes/webhooks/README.md", "looked at every two seconds; keys every five minutes"),
    ("crplugins/homes/webhooks/README.md", f"looked at once more and sent, for {CLOSING_SECONDS:g} s at most"),
    ("crplugins/keys/README.md", f"before it has stopped changing for {FILE_QUIET_SECONDS:g} s"),
    ("crplugins/keys/README.md", f"known keys go on for `stale_seconds` ({DEFAULT_STALE_SECONDS:g})"),
    ("crplugins/limits/README.md", f"after {FIRST_SECONDS:g} s, then after up to {LONGEST_SECONDS:g} s"),
]


@pytest.mark.parametrize(("page", "figure"), STATED, ids=[f"{page}: {figure}" for page, figure in STATED])
def test_it_is_the_codes(page: str, figure: str) -> None:
    assert figure in text_of(page)


def test_what_is_written_in_words_is_so_many() -> None:
    assert (BUDGET_SECONDS, KEY_SECONDS) == (2, 5 * 60)  # webhooks
    assert BUSY_SECONDS == 0.5  # limits: "A SQLite file may be locked for half a second"
