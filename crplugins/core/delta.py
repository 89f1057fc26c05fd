"""Delta: what an answer says: a chunk's `delta`, or the `message` of a plain answer.

Its texts, thoughts, refusal, tool calls, pictures and speech, under the names that OpenAI and others give them. What
has an unexpected type says nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec


class CallPiece(NamedTuple):
    """A fragment of a tool call, or a whole one. `key` tells calls apart, as far as a provider does."""

    key: tuple[str | int | None, ...]
    name: str
    arguments: str


class Delta(msgspec.Struct):
    """What an answer says: a chunk's `delta`, or the `message` of a plain answer. Text, or parts that hold it."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None  # DeepSeek, vLLM
    reasoning: Any = None  # Groq, OpenRouter
    reasoning_text: Any = None  # GitHub Copilot
    thinking: Any = None  # relays of Ollama
    thought: Any = None  # relays of Gemini
    thinking_blocks: Any = None  # Anthropic through LiteLLM: the same thoughts as in `reasoning_content`
    reasoning_details: Any = None  # OpenRouter: the same as in `reasoning`
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None
    images: Any = None
    annotations: Any = None

    def says(self) -> bool:
        """Whether something is said; not by the role alone."""
        said = self.content or self.refusal or self.tool_calls or self.function_call or self.audio or self.images
        return bool(said or self._thoughts())

    def _thoughts(self) -> Any:
        """Under the first of their names that has any."""
        thoughts = self.reasoning_content or self.reasoning or self.reasoning_text or self.thinking
        thoughts = thoughts or self.thinking_blocks or self.reasoning_details
        return thoughts or (self.thought and _told_thought(self.thought))

    def texts(self) -> list[str]:
        """Text, refusal, thoughts and transcript. Thoughts are often sent in two ways at once, and count once."""
        content, thoughts = self.content, self._thoughts()
        if isinstance(content, str):
            texts = [content] if content else []
        elif thoughts and isinstance(content, list) and len(content) <= _MOST_PARTS:
            texts = [text for kind, text in parts_of(content) if kind != "thinking"]
        else:
            texts = _texts_in(content) if content else []
        if self.refusal:
            texts += _texts_in(self.refusal)
        if thoughts:
            texts += _texts_in(thoughts)
        if self.audio and isinstance(self.audio, dict):
            texts += _texts_in(self.audio.get("transcript"))
        return texts

    def call_pieces(self) -> Iterator[CallPiece]:
        """The names and arguments of tool calls, the legacy `function_call` included."""
        calls = self.tool_calls if isinstance(self.tool_calls, list) else []
        if len(calls) > _MOST_PARTS:
            yield CallPiece((), "", msgspec.json.encode(calls).decode())
            calls = []
        for call in calls:
            if isinstance(call, dict):
                yield _call_piece(call, call.get("function") or call.get("custom"))
        if self.function_call:
            yield _call_piece({}, self.function_call)

    def speech(self) -> str:
        """Recorded speech in base64."""
        data = self.audio.get("data") if isinstance(self.audio, dict) else None
        return data if isinstance(data, str) else ""

    def cites_the_web(self) -> bool:
        """Whether it names a page, which it knows by a search."""
        notes = self.annotations if isinstance(self.annotations, list) else ()
        return any(isinstance(note, dict) and note.get("type") == "url_citation" for note in notes)

    def pictures(self) -> int:
        """How many pictures are in it (Gemini through LiteLLM, OpenRouter)."""
        return len(self.images) if isinstance(self.images, list) else 0


def _told_thought(thought: Any) -> Any:
    """A thought under Gemini's name, where it is no mark of a text that is one."""
    return None if thought is True else thought


THOUGHTS: Final = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "thought")
"""The names of thoughts that are texts, in pieces in a stream."""


def thoughts_in(said: Mapping[str, Any]) -> str:
    """The thoughts in a delta or a message, which are often sent under two names at once."""
    for name in THOUGHTS:
        if isinstance(thought := said.get(name), str) and thought:
            return thought
    details = said.get("reasoning_details") or said.get("reasoning")
    return "".join(_texts_in(details)) if details and not isinstance(details, str) else ""


PartKind = Literal["text", "thinking", "refusal"]


def parts_of(content: Any) -> Iterator[tuple[PartKind, str]]:
    """A text, or the texts and thoughts among parts, as reasoning models of Mistral and Databricks send them."""
    if isinstance(content, str):
        yield "text", content
        return
    for part in content if isinstance(content, list) else [content]:
        if text := "".join(_texts_in(part)):
            yield _kind_of(part), text


def _kind_of(part: Any) -> PartKind:
    if not isinstance(part, dict):
        return "text"
    kind = part.get("type")
    if kind in ("thinking", "reasoning") or "thinking" in part or "summary" in part:
        return "thinking"
    return "refusal" if kind == "refusal" else "text"


_INNER: Final = ("text", "refusal", "thinking", "summary")
"""Where the text of a part stands: OpenAI's, Mistral's and Anthropic's thoughts, OpenRouter's summaries."""

_MOST_PARTS: Final = 1000
"""Parts and calls in one piece of an answer that are looked at one by one; more of them count as the JSON they are."""


def _texts_in(value: Any) -> list[str]:
    """The texts in a text, or in parts, of which some hold parts. Signatures, ids and data are none."""
    texts: list[str] = []
    queue = [value]
    for part in queue:
        if isinstance(part, str):
            if part:
                texts.append(part)
        elif isinstance(part, list):
            queue += part
        elif isinstance(part, dict):
            queue += [part[name] for name in _INNER if name in part]
        if len(queue) > _MOST_PARTS:
            return [msgspec.json.encode(value).decode()]
    return texts


def _call_piece(call: dict[str, Any], function: Any) -> CallPiece:
    if not isinstance(function, dict):
        function = {}
    name, arguments = function.get("name"), function.get("arguments") or function.get("input") or ""
    if not isinstance(arguments, str):  # a few providers send the object itself
        arguments = msgspec.json.encode(arguments).decode()
    key = tuple(k if isinstance(k, str | int) else None for k in (call.get("index"), call.get("id"), name))
    return CallPiece(key, name if isinstance(name, str) else "", arguments)
