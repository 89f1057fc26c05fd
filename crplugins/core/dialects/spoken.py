"""What has sound on one side (OpenAI, "Create transcription", "Create translation", "Create speech").

Recordings come as the file of a form, beside the model. Answers may be no JSON at all: sound, subtitles, plain text.
Such bytes pass as they are. Tokens are counted where the provider counts them; whisper counts seconds, which are no
tokens, and speech is counted in streams alone.
"""

from typing import Final

from crplugins.core.dialects.counted import ANSWERED, Counted
from crplugins.core.sse import Event
from crplugins.core.wire import AnswerFacts

_BLANKS: Final = 64
"""Bytes within which a document begins."""


class Spoken(Counted):
    """An answer that is no JSON is an answer too."""

    passes_bytes = True

    def document(self, body: bytes) -> Event:
        is_json = body[:_BLANKS].lstrip()[:1] in (b"{", b"[")
        answer = self.read(body) if is_json or not body else AnswerFacts(choices=[ANSWERED])
        return Event(body, body, b"", True, answer)


class Transcriptions(Spoken):
    """`POST /v1/audio/transcriptions`."""

    name = "transcriptions"
    path = "/audio/transcriptions"
    prompt = ("prompt",)
    form = True
    answers = ("text", "segments")
    ends = ("transcript.text.done",)


class Translations(Spoken):
    """`POST /v1/audio/translations`."""

    name = "translations"
    path = "/audio/translations"
    prompt = ("prompt",)
    form = True
    answers = ("text", "segments")


class Speech(Spoken):
    """`POST /v1/audio/speech`."""

    name = "speech"
    path = "/audio/speech"
    prompt = ("input", "instructions")
    answers = ("audio",)
    ends = ("speech.audio.done",)
    has_stream_format = True


TRANSCRIPTIONS: Final = Transcriptions()
TRANSLATIONS: Final = Translations()
SPEECH: Final = Speech()
