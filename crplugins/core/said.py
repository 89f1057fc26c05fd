"""What an answer has said so far, and about how many tokens that is. The one rule, for every home.

Each home hands `Said.hear` the choices of a chunk or of a whole answer. Text, reasoning, refusals, transcripts and the
names and arguments of tool calls are weighed; ids, roles and the JSON around them are not.
"""

from collections.abc import Callable, Iterable
from typing import Final

from crplugins.core.delta import CallPiece, Delta
from crplugins.core.media import audio_seconds
from crplugins.core.wire import Choice

UNITS: Final = 12
"""Units of weight to a token: with so many, the weights of characters are whole numbers."""

TOKENS_PER_CALL: Final = 8
"""What a tool call takes besides its name and arguments: the special tokens around it, which no provider shows.

It is what a single recorded call of OpenAI's took; those of Groq, and parallel ones, took up to 16.
"""

AUDIO_TOKENS_PER_SECOND: Final = 20
"""Speech in an answer: a token for 50 ms (https://developers.openai.com/api/docs/guides/realtime-costs)."""

PICTURE_TOKENS: Final = 1290
"""A picture in an answer: what Gemini bills for one of up to 1024 x 1024 (https://ai.google.dev/gemini-api/docs/pricing)."""

_MOST_NAMES: Final = 1024
"""How many names of tool calls are remembered, to notice those that are repeated."""


def weight(text: str) -> int:
    """Units of a text: 4 characters of ASCII to the token, 3 of other alphabets, 4 ideographs to 3 tokens.

    Every character has a weight of its own, so it does not matter in which pieces a text arrives.
    """
    if text.isascii():
        return 3 * len(text)
    data = text.encode("utf-8", "surrogatepass")
    ascii_size = len(text.encode("ascii", "ignore"))
    return _weight_of(len(data), len(text), ascii_size, data.count(0xE0))


def weight_of_json(data: bytes) -> int:
    """The same for JSON that is not decoded. An escaped character (`\\uXXXX`) is not the six that stand for it."""
    if data.isascii():
        units = 3 * len(data)
    else:
        ascii_size = len(data.translate(None, _NOT_ASCII))
        characters = len(data.translate(None, _CONTINUATION))
        units = _weight_of(len(data), characters, ascii_size, data.count(0xE0))
    if escapes := data.count(b"\\u") - data.count(b"\\\\u"):  # a backslash that is escaped begins none: C:\\users
        alphabets = data.count(b"\\u0") - data.count(b"\\\\u0")
        units -= (18 - 4) * alphabets + (18 - 9) * (escapes - alphabets)
    return units


_NOT_ASCII: Final = bytes(range(0x80, 0x100))
_CONTINUATION: Final = bytes(range(0x80, 0xC0))


def _weight_of(size: int, characters: int, ascii_size: int, indic: int) -> int:
    """3 units for a character of one byte in UTF-8, 4 for two, 9 for three and 14 for four.

    `indic` counts those of three bytes that begin with E0, the scripts of India and Thai: alphabets, with 4 units.
    """
    return 5 * size - 6 * characters + 4 * ascii_size - 5 * indic


Mark = tuple[int, int, int]
"""How much an answer had said at some moment: the numbers of Said."""

NOTHING: Final[Mark] = (0, 0, 0)


_NEVER: Final = 2**62


class Said:
    """Adds up what one answer says.

    Most providers send a token with each chunk of a stream, so the number of pieces is the best count there is. Where a
    piece has more than that, as a whole answer has, the weight of the text decides.

    Attributes:
        units: the weight of all text.
        pieces: how many pieces of text came.
        other: the weight of what is no text: speech, pictures, what surrounds tool calls.
        cites_the_web: it names a page.
        searches: how many searches of the web its provider has said to have made.
    """

    __slots__ = ("_look_at", "_names", "_watchers", "cites_the_web", "other", "pieces", "searches", "units")

    def __init__(self, units: int = 0, pieces: int = 0, other: int = 0) -> None:
        self.units, self.pieces, self.other = units, pieces, other
        self.cites_the_web = False
        self.searches = 0
        self._names: set[tuple[str | int | None, ...]] | None = None
        self._look_at = _NEVER
        self._watchers: tuple[tuple[int, Callable[[], None]], ...] = ()

    def __bool__(self) -> bool:
        """Whether anything was said."""
        return self.pieces > 0 or self.other > 0

    def mark(self) -> Mark:
        return self.units, self.pieces, self.other

    def tokens(self, after: Mark = NOTHING) -> int:
        """Estimated tokens of what was said, or of what was said after a mark."""
        said_units, said_pieces, said_other = after
        units, by_pieces = self.units - said_units, (self.pieces - said_pieces) * UNITS
        has_more = 5 * units > 8 * by_pieces  # than a token in each; a stream of single characters has less
        text = units if has_more else min(by_pieces, 2 * units)
        return -(-(text + self.other - said_other) // UNITS)

    def call_at(self, tokens: int, call: Callable[[], None]) -> None:
        """Call once, as soon as this many tokens have been said; whoever wants more calls asks again."""
        self._watchers = (*self._watchers, (tokens, call))
        self._look_again()

    def over(self) -> None:
        """Nothing more will be said. Whoever asked for calls is forgotten: they know the request, which knows this."""
        self._watchers, self._look_at = (), _NEVER

    def unsay(self) -> None:
        """Nothing has been said."""
        self.units = self.pieces = self.other = 0
        self.cites_the_web, self.searches, self._names = False, 0, None
        self._look_again()

    def hear(self, choices: Iterable[Choice]) -> bool:
        """Add what the choices of a chunk, or of a whole answer, say. False if that is nothing."""
        pieces, other = self.pieces, self.other
        for choice in choices:
            delta = choice.delta or choice.message
            if delta is None:
                continue
            for text in delta.texts():
                self.units += weight(text)
                self.pieces += 1
            if delta.tool_calls or delta.function_call or delta.audio or delta.images or delta.annotations:
                self._hear_more(choice.index, delta)
        if 2 * self.units + self.other >= self._look_at:
            self._look()
        return self.pieces > pieces or self.other > other

    def hear_text(self, text: str) -> None:
        """Add what a chunk says that is text alone (`Event.text`)."""
        self.units += 3 * len(text) if text.isascii() else weight(text)
        self.pieces += 1
        if 2 * self.units + self.other >= self._look_at:
            self._look()

    def _look(self) -> None:
        said = self.tokens()
        due = [call for tokens, call in self._watchers if tokens <= said]
        self._watchers = tuple(watcher for watcher in self._watchers if watcher[0] > said)
        self._look_again()
        for call in due:
            call()

    def _look_again(self) -> None:
        """Look when as much more was said as is missing, if that was said in the shortest pieces: more than twice the
        weight of the text never counts."""
        missing = min((tokens for tokens, _ in self._watchers), default=None)
        said = 2 * self.units + self.other
        self._look_at = _NEVER if missing is None else said + max(0, missing - self.tokens() - 1) * UNITS + 1

    def _hear_more(self, index: int, delta: Delta) -> None:
        for call in delta.call_pieces():
            if call.name and self._begins(index, call):
                self._add(call.name)
                self.other += TOKENS_PER_CALL * UNITS
            if call.arguments:
                self._add(call.arguments)
        if speech := delta.speech():
            self.other += int(audio_seconds(speech, of_answer=True) * AUDIO_TOKENS_PER_SECOND * UNITS)
        if delta.annotations:
            self.cites_the_web = self.cites_the_web or delta.cites_the_web()
        if delta.images:
            self.other += delta.pictures() * PICTURE_TOKENS * UNITS

    def _add(self, text: str) -> None:
        self.units += weight(text)
        self.pieces += 1

    def _begins(self, index: int, call: CallPiece) -> bool:
        """Whether this name begins a call: some providers repeat it on every fragment."""
        if self._names is None:
            self._names = set()
        key = (index, *call.key)
        if key in self._names:
            return False
        if len(self._names) < _MOST_NAMES:
            self._names.add(key)
        return True
