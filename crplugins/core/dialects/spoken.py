"""What has sound on one side (OpenAI, "Create transcription", "Create translation", "Create speech").

Recordings come as the file of a form, beside the model. Answers may be no JSON at all: sound, subtitles, plain text.
Such bytes pass as they are. Tokens are counted where the provider counts them; whisper counts seconds, which are no
tokens, and speech is counted in streams alone: elsewhere how long it lasts is read from its head.
"""

from collections.abc import Mapping
from typing import Any, Final

from crplugins.core.body import Body
from crplugins.core.dialects.counted import ANSWERED, Counted, Members
from crplugins.core.form_body import FormBody
from crplugins.core.media import recording_seconds
from crplugins.core.sse import Event
from crplugins.core.units import MAX_SECONDS, NO_UNITS, Units, sane_seconds
from crplugins.core.wire import MadeFacts

_BLANKS: Final = 64
"""Bytes within which a document begins."""


_UNSEEN_SECONDS: Final = 3600.0
"""Of a recording that is not sent along, if its provider does not say how long it is: more than most last, for what
nobody counts would be free."""


class Spoken(Counted):
    """An answer that is no JSON is an answer too."""

    passes_bytes = True

    def document(self, body: bytes) -> Event:
        is_json = body[:_BLANKS].lstrip()[:1] in (b"{", b"[")
        answer = self.read(body) if is_json or not body else MadeFacts(choices=[ANSWERED], made=self.heard(body))
        return Event(body, body, b"", True, answer)

    def heard(self, body: bytes) -> Units:
        """What an answer that is no JSON is charged by."""
        return NO_UNITS


_ADDRESSES: Final = ("url", "file_url", "audio_url")
"""Where providers (Groq, Mistral) take the address of a recording, whether a file is sent with it or not."""


class Understood(Spoken):
    """A recording as text."""

    prompt = ("prompt",)
    form = True
    answers = ("text", "segments")

    def asked_units(self, body: Body) -> Units:
        """Of a recording at an address, which the provider fetches, nobody here knows the length."""
        seconds = body.measured(recording_seconds) if isinstance(body, FormBody) else None
        if not seconds or any(name in body.fields for name in _ADDRESSES):
            seconds = _UNSEEN_SECONDS + (seconds or 0.0)
        return Units(recorded=min(seconds, MAX_SECONDS))

    def made(self, told: Mapping[str, Any], members: Members) -> Units:
        """Whisper counts seconds in the place of tokens, and says in the longer form how long the recording is."""
        usage = told.get("usage")
        seconds = sane_seconds(usage.get("seconds")) if isinstance(usage, dict) else 0.0
        return Units(recorded=seconds or sane_seconds(told.get("duration")))


class Transcriptions(Understood):
    """`POST /v1/audio/transcriptions`."""

    name = "transcriptions"
    path = "/audio/transcriptions"
    ends = ("transcript.text.done",)


class Translations(Understood):
    """`POST /v1/audio/translations`."""

    name = "translations"
    path = "/audio/translations"


class Speech(Spoken):
    """`POST /v1/audio/speech`."""

    name = "speech"
    path = "/audio/speech"
    prompt = ("input", "instructions")
    answers = ("audio",)
    ends = ("speech.audio.done",)
    has_stream_format = True

    def asked_units(self, body: Body) -> Units:
        return Units(characters=len(body.get("input", str) or ""))

    def heard(self, body: bytes) -> Units:
        return Units(spoken=min(recording_seconds(body, of_answer=True), MAX_SECONDS))


TRANSCRIPTIONS: Final = Transcriptions()
TRANSLATIONS: Final = Translations()
SPEECH: Final = Speech()
