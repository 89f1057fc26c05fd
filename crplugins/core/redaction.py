"""Text that others wrote, made fit for a client or for a line of the log: cut, redacted, on one line.

It is cut before anything else, and every pattern here is linear: an upstream may answer with megabytes that a client
has chosen, and the event loop would stand still for everybody while a slow pattern reads them.
"""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Final
from urllib.parse import quote

LONGEST_TEXT: Final = 2000
"""Characters of somebody else's text that are read; no message that is worth showing has more."""

LONGEST_LINE: Final = 500
LONGEST_NAME: Final = 128
"""Characters of somebody else's text in one line of the log."""

SHORTEST_SECRET: Final = 8
"""Characters of a configured key below which it is a placeholder (`none`, `EMPTY`, `token`) and a word of its own."""

_REDACTED: Final = "[redacted]"

# Also after an escape: in JSON that is quoted within a text, a key after a line feed follows the letter n.
_START: Final = r"(?:(?<![0-9A-Za-z_])|(?<=\\[bfnrt])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4}))"
_END: Final = r"(?![0-9A-Za-z_])"

# No pattern can begin anew in the middle of what it has read in vain: a run of characters is read once.


@cache  # compiled with the first one that is asked about
def _addresses() -> re.Pattern[str]:
    return re.compile(
        r"(?<![a-z0-9+.-])[a-z0-9+.-]++:(?:\\?/){2}[^\s'\"<>)\]`]+"  # URLs, their slashes escaped or not
        r"|(?<![0-9])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9])(?::[0-9]{1,5})?"  # IPv4, with or without a port
        r"|\[[0-9a-f]*+:[0-9a-f:.]*+(?:%[0-9a-z]{1,16})?\](?::[0-9]{1,5})?"  # IPv6 in brackets
        r"|(?<![0-9a-z_:.])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}(?![0-9a-z_:])"  # and without
        r"|(?<![a-z0-9._-])[a-z0-9_-]++(?:\.[a-z0-9_-]++)++:[0-9]{2,5}(?![0-9])"  # host.domain:port
        r"|(?<![a-z0-9._-])[a-z][a-z0-9-]*+:[0-9]{4,5}(?![0-9a-z_])"  # host:port
        r"|(?<![a-z0-9._-])localhost(?![a-z0-9_-])(?::[0-9]{1,5})?",
        re.IGNORECASE | re.ASCII,
    )


@cache  # compiled with the first one that is asked about
def _keys() -> re.Pattern[str]:
    return re.compile(
        _START + r"(?:"
        r"(?P<prefixed>(?:sk|pk|rk|gsk|csk|xai|key|org|proj|sess|hf|gh[opsu]|nvapi|pplx|r8|fw)[-_][a-z0-9_*-]{6,}+)"
        r"|(?:AIza|AKIA|ASIA|eyJ|ya29\.)[a-z0-9_.-]{12,}+"  # Google, AWS, JSON Web Tokens
        r"|Bearer\s{1,8}\S++|Basic\s{1,8}[a-z0-9+/]{12,}+={0,2}"
        r"|(?P<named>(?:x[-_])?api[-_ ]?key(?:\sprovided)?|access[-_]?token|client[-_]?secret|password)"
        r"(?P<value>[\"']{0,2}\s{0,4}[:=]\s{0,4}[\"']?[^\s\"',;&}]{6,}+)"
        r")",
        re.IGNORECASE | re.ASCII,
    )


@cache  # compiled with the first one that is asked about
def _litellm_classes() -> re.Pattern[str]:
    return re.compile(
        r"(?<![\w.])(?:litellm\.)?[A-Z]\w*+(?:(?<=Error)|(?<=Exception))(?:\s{0,8}:\s{0,8}|\s{1,8}-\s{1,8})"
        r"|\Alitellm\.\w++:\s{0,8}"
    )


_OF_A_WORD: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/+=*@%~\\-"


def scrub(text: str, secrets: Iterable[str | None] = ()) -> str:
    """`text` without addresses, credentials, account ids and litellm's class names, of at most `LONGEST_TEXT`.

    Args:
        secrets: what must not appear, such as the key and the address of the upstream. They count as whole words only,
            and from `SHORTEST_SECRET` characters on.
    """
    text = cut(text, LONGEST_TEXT)
    if (known := _pattern_of(tuple(secrets))) is not None:
        text = known.sub(_REDACTED, text)
    text = _keys().sub(_key_redacted, _addresses().sub(_REDACTED, text))
    return _litellm_classes().sub("", text).strip()


def cut(text: str, longest: int) -> str:
    """At most `longest` characters of `text`, without the word that the cut would go through: it may be a secret."""
    if len(text) <= longest:
        return text
    words = text[:longest].rsplit(maxsplit=1)
    if len(words) > 1 and len(words[1]) <= longest // 2:
        return words[0] + "..."
    return text[:longest].rstrip(_OF_A_WORD) + "..."  # no spaces, as in Chinese


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """`text` for a line of the log: what would begin another line, or steer a terminal, is written as an escape."""
    if len(text) > longest:
        text = cut(text, longest)
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text])


def short_name(text: str) -> str:
    """A name that a client or a provider has written, for a log or a span: on one line, cut, and valid UTF-8."""
    return one_line(text, LONGEST_NAME)


@lru_cache(maxsize=256)
def _pattern_of(secrets: tuple[str | None, ...]) -> re.Pattern[str] | None:
    """The pattern that finds the secrets of one deployment, made once."""
    known = [secret for secret in secrets if secret and len(secret) >= SHORTEST_SECRET]
    words = sorted({spelt for secret in known for spelt in _spellings(secret)}, key=len, reverse=True)
    return re.compile("|".join(map(_whole, words)), re.ASCII) if words else None


def _spellings(secret: str) -> tuple[str, ...]:
    """As it is, and within a URL, JSON in a text, and HTML."""
    from html import escape  # which has a table of 2,200 names, and is needed with the first error of an upstream

    return (secret, quote(secret), quote(secret, safe=""), secret.replace("/", r"\/"), escape(secret))


def _whole(secret: str) -> str:
    start = _START if re.match(r"\w", secret[0], re.ASCII) else ""
    end = _END if re.match(r"\w", secret[-1], re.ASCII) else ""
    return f"{start}{re.escape(secret)}{end}"


def _key_redacted(match: re.Match[str]) -> str:
    """A word that only begins like a key (`key_value_pairs`) stays."""
    found: str = match["prefixed"] or match["value"] or ""
    if found and not any(c.isdigit() or c == "*" for c in found):
        return match[0]
    return f"{match['named']}: {_REDACTED}" if match["named"] else _REDACTED


def without_credentials(url: str) -> str:
    """An @ after the host may be the end of a password that is not escaped: only the scheme is shown then."""
    scheme, _, rest = url.partition("://")
    netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in rest[len(netloc) :]:
        return f"{scheme}://..."
    path = re.split(r"[?#]", rest[len(netloc) :], maxsplit=1)[0]
    return f"{scheme}://{netloc.rpartition('@')[2]}{path}"
