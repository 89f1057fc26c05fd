"""ModelPaths: which requests ask a model, and in which dialect, decided for every home by one reading of the path.

Routers read a path more loosely than they say: one matches in front of a final newline, another merges slashes, ignores
case or routes by the path before it was decoded. A request that such a router takes for one that asks a model and that
we do not would reach the model past every limit. So the path of a dialect has one spelling, and what any router, proxy
or file system could take for it is `nearly` one, and reaches no app.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, Literal
from unicodedata import normalize
from urllib.parse import unquote

from crplugins.core.dialects import ALL, BY_NAME, CHAT, Dialect

CHAT_PATH: Final = CHAT.path
"""What the path of a chat completion ends with, whatever stands before it."""

VERSION: Final = "/v1"
"""What stands before the path of every other dialect: `/messages` alone is a route of many an app. A few have another
    path too, with another version."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""They ask for no completion (RFC 9110, 9.2.1): a page of the same path, or a browser's question before it posts."""

PathKind = Dialect | Literal["stored", "page", "method", "nearly", "other"]
"""What a request is, by its method and path.

A dialect in which it asks a model. `stored` is about an answer that a provider keeps: `/v1/responses/{id}`, whatever
its method. `page` only reads such a path, or one that is nearly one. `method` has another method on such a path.
`nearly` is another spelling of one. `other` is not ours.
"""

_OTHERS: Final = {path: each for each in ALL for path in each.other_paths}
_USUAL: Final[Mapping[str, Dialect]] = {CHAT.path: CHAT, **{VERSION + each.path: each for each in ALL}, **_OTHERS}

_NO_SEGMENT: Final = r"\x00-\x1f\x7f-\x9f\\;%?#\u2028\u2029\ufeff\ufffd\ud800-\udfff"
"""What no two readers agree on: where a segment ends, a parameter begins, and what is decoded once more."""

_SEGMENT: Final = rf"/(?!\.{{1,2}}(?:/|$))[^/{_NO_SEGMENT}]+"
_ENDINGS: Final = {each.path if each is CHAT else VERSION + each.path: each for each in ALL} | _OTHERS
"""What an exact path ends with."""

_BEFORE_ENDING: Final = re.compile(rf"(?:{_SEGMENT})*")
_PLAIN: Final = re.compile(rf"(?:{_SEGMENT})+/?")

_DECODINGS: Final = 3
"""How often a path is decoded by those who read it after the server: an app, a proxy behind it, and one more."""

_CUTS: Final = (re.compile(r"[?#].*", re.DOTALL), re.compile(r"[\x00-\x1f\x7f;?#].*", re.DOTALL))
"""Where a reader may take the path to be over."""

_ORDINARY: Final = re.compile(r"[A-Za-z0-9/._~-]*")
"""A path in which nothing is encoded: its other spellings are a matter of case, slashes and dots."""

_LONGEST: Final = 16_384
"""Characters up to which a path that is not ordinary is read. RFC 9110 (4.1) recommends 8,000 octets for a URI."""

_DOTLESS_I: Final = "\u0131"
"""The one letter whose capital is that of another, and that `casefold` does not join with it."""

_PARAMETERS: Final = re.compile(r";[^/]*")
_IGNORED: Final = re.compile(r"[^\w/.~:@!$&'()*,=-]+")
"""What some reader leaves out: spaces, control characters, accents, what nobody can see."""


class ModelPaths:
    """The paths of dialects: every one that ends with `/chat/completions` or, for another dialect, with `/v1` and its
    path; and those that are named.

    Args:
        dialects: those whose requests are meant, or their names; the path of another one is any other path.
        stored: whether what is below the path of a dialect whose answers are kept is `stored`, or any other path.
        named: paths as the app inside knows them, below its mount point, of chat completions: `/ask`; or each with the
            name of its dialect: `{"/ask": "responses"}`. A segment in braces stands for any one:
            `/tenants/{tenant}/ask`.

    Raises ValueError for a named path that could be spelled in other ways, or a dialect that does not exist.
    """

    def __init__(
        self,
        named: Iterable[str] | Mapping[str, str] = (),
        dialects: Iterable[Dialect | str] = ALL,
        *,
        stored: bool = False,
    ) -> None:
        meant = {_dialect(each) for each in dialects}
        self.named: Final[Mapping[str, str]] = (
            dict(named) if isinstance(named, Mapping) else dict.fromkeys(named, CHAT.name)
        )
        for path in self.named:
            if _PLAIN.fullmatch(path) is None:
                raise ValueError(f"{path!r} is no path of a route, such as '/ask'")
        named_dialects = {path: _dialect(name) for path, name in self.named.items()}
        one_for_any = any(_is_any(part) for path in self.named for part in path.split("/"))
        self._exact = {} if one_for_any else named_dialects
        self._fitting = [(_pattern(path), each) for path, each in named_dialects.items()] if one_for_any else []
        self._nearly = [_parts(path) for path in self.named]
        self._usual = {path: each for path, each in _USUAL.items() if each in meant}
        self._endings = [(ending, each) for ending, each in _ENDINGS.items() if each in meant]
        self._last = tuple(ending for ending, _ in self._endings)
        self._lasts = [ending.strip("/").split("/") for ending in self._last]
        keeping = [ending for ending, each in _ENDINGS.items() if each.keeps_answers and each in meant and stored]
        keeping += [path for path, name in self.named.items() if _dialect(name).keeps_answers and stored]
        self._stored = [re.compile(_pattern(path).pattern + "/[^/]") for path in keeping]
        self._above_stored = [_parts(path) for path in keeping]
        self._keeping = [(parts[-1] or "").lower() for parts in self._above_stored]
        last = [max((part or "" for part in parts), key=len) for parts in self._nearly]
        self._words = [*dict.fromkeys([*(parts[-1] for parts in self._lasts), *last])]

    def kind(self, method: str, path: str, root_path: str = "", raw_path: bytes = b"") -> PathKind:
        """What a request is, by ASGI's words for its method and target. Linear in the length of the path."""
        usual = self._usual.get(path)
        if usual is not None and method == "POST":
            return usual
        return self._judged(method, path, root_path, raw_path)

    def _judged(self, method: str, path: str, root_path: str, raw_path: bytes) -> PathKind:
        kind: PathKind
        if (dialect := self._dialect(path, root_path)) is not None:
            kind = dialect if method == "POST" else "method"
        elif self._stored and (below := self._below(path, raw_path)) is not None:
            return "page" if method == "OPTIONS" else below
        elif self._is_nearly(path, root_path) or self._was_nearly(raw_path, path, root_path):
            kind = "nearly"
        else:
            return "other"
        return "page" if method in SAFE_METHODS else kind

    def _dialect(self, path: str, root_path: str) -> Dialect | None:
        """That of an exact path."""
        for ending, dialect in self._endings:
            if path.endswith(ending) and _BEFORE_ENDING.fullmatch(path, 0, len(path) - len(ending)) is not None:
                return dialect
        if not self.named or _PLAIN.fullmatch(path) is None:
            return None
        inside = path.removeprefix(root_path)
        if not self._fitting:
            return self._exact.get(inside)
        return next((dialect for pattern, dialect in self._fitting if pattern.fullmatch(inside) is not None), None)

    def _is_nearly(self, path: str, root_path: str) -> bool:
        if path.endswith(self._last):
            return True
        if _ORDINARY.fullmatch(path) is not None:
            lowered = path.lower()
            if not any(word in lowered for word in self._words):
                return False
        elif len(path) > _LONGEST:
            return True
        return any(self._ends_as_one(parts) for parts in _readings(path)) or (
            bool(self._nearly) and any(self._is_named(parts) for parts in _readings(path.removeprefix(root_path)))
        )

    def _ends_as_one(self, parts: Sequence[str]) -> bool:
        return any(parts[-len(last) :] == last for last in self._lasts)

    def _was_nearly(self, raw_path: bytes, path: str, root_path: str) -> bool:
        """The same of the path that came, where another layer has given the app a different one: some route by it."""
        came = unquote(raw_path.decode("latin-1"))
        return came != path and self._is_nearly(came, root_path)

    def _below(self, path: str, raw_path: bytes) -> PathKind | None:
        """Whether a path is below one whose answers are kept, or some router may take it for one; None for no."""
        came = unquote(raw_path.decode("latin-1")) or path
        for each in dict.fromkeys((path, came)):
            if _ORDINARY.fullmatch(each) is not None and not any(word in each.lower() for word in self._keeping):
                continue
            if _PLAIN.fullmatch(each) is not None and any(pattern.search(each) for pattern in self._stored):
                return "stored" if came == path else "nearly"
            if len(each) > _LONGEST or any(self._is_below(parts) for parts in _readings(each)):
                return "nearly"
        return None

    def _is_below(self, parts: Sequence[str]) -> bool:
        return any(
            all(part in (None, found) for part, found in zip(above, parts[start:], strict=False))
            for above in self._above_stored
            for start in range(len(parts) - len(above))
        )

    def _is_named(self, parts: Sequence[str]) -> bool:
        return any(
            len(named) == len(parts) and all(part in (None, found) for part, found in zip(named, parts, strict=True))
            for named in self._nearly
        )


def _dialect(name: Dialect | str) -> Dialect:
    if isinstance(name, str):
        if name not in BY_NAME:
            raise ValueError(f"{name!r} is no dialect; there are {', '.join(BY_NAME)}")
        return BY_NAME[name]
    return name


def _pattern(path: str) -> re.Pattern[str]:
    """A named path, exactly."""
    return re.compile("/".join("[^/]+" if _is_any(part) else re.escape(part) for part in path.split("/")))


def _parts(path: str) -> list[str | None]:
    """A named path in its normal form; None for a segment that may be any."""
    return [None if _is_any(part) else _unified(part) for part in path.split("/") if part]


def _is_any(part: str) -> bool:
    return part.startswith("{") and part.endswith("}")


def _readings(path: str) -> Iterator[list[str]]:
    """The segments of a path as its readers may see them, all in the normal form."""
    text = _unified(path)
    for whole in dict.fromkeys((text, *(cut.sub("", text) for cut in _CUTS))):
        segments = _IGNORED.sub("", _PARAMETERS.sub("", whole)).split("/")
        yield _walked(segments, climbs=True)
        if ".." in segments:
            yield _walked(segments, climbs=False)


def _unified(path: str) -> str:
    """Decoded until nothing changes, without case, compatibility forms or accents, with one sort of slash."""
    for _ in range(_DECODINGS):
        if not path.isascii():  # each character alone: sorting the accents of a whole path is not linear
            path = "".join([normalize("NFKD", character) for character in path])
        if "%" not in path:
            break
        path = unquote(path)
    return path.casefold().replace("\\", "/").replace(_DOTLESS_I, "i")


def _walked(segments: Iterable[str], *, climbs: bool) -> list[str]:
    """The segments without empty ones and dots. With `climbs`, `..` takes back the one before it."""
    walked: list[str] = []
    for segment in segments:
        if segment == ".." and climbs and walked:
            walked.pop()
        elif kept := segment.rstrip("."):
            walked.append(kept)
    return walked


def without_version(dialects: Iterable[Dialect]) -> dict[str, str]:
    """Paths of dialects without the version in front, which LiteLLM's proxy answers too, with their names."""
    return {dialect.path: dialect.name for dialect in dialects}


def model_paths(dialects: Iterable[Dialect]) -> frozenset[str]:
    """The paths on which models are asked in these dialects."""
    paths = [(dialect.path, VERSION + dialect.path, *dialect.other_paths) for dialect in dialects]
    return frozenset(chain.from_iterable(paths))
