"""What has sound on one side (OpenAI, "Create transcription", "Create translation", "Create speech").

Recordings come as the file of a form, beside the model. Answers may be no JSON at all: sound, subtitles, plain text.
Such bytes pass as they are. Tokens are counted where the provider counts them; whisper counts seconds, which are no
tokens, and speech is counted in streams alone: elsewhere how long it lasts is read from its head.
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET

from crplugins.core.body import Body
from crplugins.core.delta import Delta
from crplugins.core.dialects.counted import ANSWERED, Counted, Members, value_of
from crplugins.core.dialects.dialect import is_document, is_page
from crplugins.core.finish_reasons import is_failure
from crplugins.core.form_body import FormBody
from crplugins.core.lenient_json import decode_leniently, object_of, objects_of, struct_of_what_fits
from crplugins.core.media import recording_seconds
from crplugins.core.sse import Event
from crplugins.core.units import MAX_SECONDS, NO_UNITS, Units, sane_seconds
from crplugins.core.wire import AnswerFacts, Choice, MadeFacts, Misshapen

_UNSEEN_SECONDS: Final = 3600.0
"""Of a recording that is not sent along, if its provider does not say how long it is: more than most last, for what
nobody counts would be free."""


class AudioDialect(Counted):
    """An answer that is no JSON is an answer too.

    Attributes:
        may_be_empty: so is an empty one.
    """

    passes_bytes = True
    may_be_empty = False

    def document(self, body: bytes) -> Event:
        if is_page(body):
            return Event(body, body, b"", True, Misshapen())
        is_json = is_document(body) or not (body or self.may_be_empty)
        answer = self.read(body) if is_json else MadeFacts(choices=[ANSWERED], made=self.heard(body))
        return Event(body, body, b"", True, answer)

    def heard(self, body: bytes) -> Units:
        """What an answer that is no JSON is charged by."""
        return NO_UNITS


_ADDRESSES: Final = ("url", "file_url", "audio_url")
"""Where providers (Groq, Mistral) take the address of a recording, whether a file is sent with it or not."""


class RecordingDialect(AudioDialect):
    """A recording as text, of silence an empty one.

    Streams are OpenAI's events, Mistral's, or the chunks of vLLM and Together. These say of each piece of a recording
    why it has ended, so that [DONE] alone is the end of all.
    """

    prompt = ("prompt",)
    form = True
    answers = ("text", "segments")
    ends = ("transcript.text.done", "transcription.done")
    may_be_empty = True

    def asked_units(self, body: Body) -> Units:
        """Of a recording at an address, which the provider fetches, nobody here knows the length."""
        seconds = sum(body.measured(recording_seconds)) if isinstance(body, FormBody) else 0.0
        if not seconds or any(name in body.fields for name in _ADDRESSES):
            seconds += _UNSEEN_SECONDS
        return Units(recorded=min(seconds, MAX_SECONDS))

    def _facts(self, told: Mapping[str, Any], members: Members) -> AnswerFacts:
        facts = super()._facts(told, members)
        if "choices" not in members:
            return facts
        pieces = [_piece(choice) for choice in objects_of(value_of(members["choices"]))]
        if (made := self.made(told, members)).recorded:
            return MadeFacts(facts.model, pieces, facts.usage, facts.error, made=made)
        return AnswerFacts(facts.model, pieces, facts.usage, facts.error)

    def piece(self, kind: str, told: Mapping[str, Any], members: Members) -> Any:
        """Mistral's are named as its other texts are."""
        return value_of(members.get("text")) if kind == "transcription.text.delta" else told.get("delta")

    def made(self, told: Mapping[str, Any], members: Members) -> Units:
        """Whisper counts seconds in the place of tokens, Mistral beside them. The longer form says how long the
        recording is."""
        usage = object_of(told.get("usage"))
        seconds = sane_seconds(usage.get("seconds")) or sane_seconds(usage.get("prompt_audio_seconds"))
        return Units(recorded=seconds or sane_seconds(told.get("duration")))


def _piece(choice: Mapping[str, Any]) -> Choice:
    reason = choice.get("finish_reason")
    failed = reason if is_failure(reason) else UNSET
    return Choice(0, failed, delta=struct_of_what_fits(choice.get("delta"), Delta))


class Transcriptions(RecordingDialect):
    """`POST /v1/audio/transcriptions`."""

    name = "transcriptions"
    path = "/audio/transcriptions"

    def stream_of(self, document: bytes) -> list[Event] | None:
        """Models that know no streams (whisper-1) answer with a document, which OpenAI's SDKs take for a stream of
        nothing."""
        told = decode_leniently(document)
        if not isinstance(told, dict) or not isinstance(text := told.get("text"), str):
            return None
        delta = [{"type": "transcript.text.delta", "delta": text}] if text else []
        return self.events_of([*delta, {**told, "type": "transcript.text.done"}])


class Translations(RecordingDialect):
    """`POST /v1/audio/translations`."""

    name = "translations"
    path = "/audio/translations"


class Speech(AudioDialect):
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
