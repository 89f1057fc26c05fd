"""Conversation: messages in the number and order in which upstreams take them.

Messages and Responses say more than one thing in a row, in any order. Anthropic joins what one side says without an
answer between, and of chat completions no upstream takes everything:

- What the model says in one turn is one message, as its calls must be followed by all of their results.
- Results come first in a turn of the user, whatever else he says in it.
- OpenAI takes the words of a system wherever they stand. Chat templates of other models refuse a second message of the
  system or a later one (Qwen, Mistral), or two messages of the user in a row (Gemma), or forget them. So there the
  system has one message, the first; later words of it are words of the user where they stand, marked as Claude Code
  marks them, so that the beginning of the conversation stays what it is in the provider's cache; and what a user says
  in one turn is one message.
- An answer that says nothing, as of a model that has only thought, is none: many servers refuse its empty content.
"""

from collections.abc import Sequence
from typing import Any

from crplugins.core.dialects import CHAT
from crplugins.handlers.histories import UNSIGNED
from crplugins.handlers.protocols import Target
from crplugins.handlers.translation.translation import Fields, merged


class Conversation:
    """What has been said so far, as messages of chat completions."""

    def __init__(self, target: Target) -> None:
        self._takes_all = target.is_openai
        self._target = target
        self._call_ids = target.call_ids(CHAT)
        self._messages: list[Fields] = []
        self._called = set[str]()
        self._answer: _Answer | None = None
        self._results: list[Fields] = []
        self._said: list[tuple[str, list[Fields]]] = []

    def system(self, parts: Sequence[Fields], role: str = "system") -> None:
        """Words of the system, or of the developer."""
        self._say(role if self._takes_all else "system", parts)

    def user(self, parts: Sequence[Fields]) -> None:
        self._say("user", parts)

    def has_called(self, call_id: str) -> bool:
        """Whether the model has made this call: a result of none is refused by every provider, each in its own way."""
        return call_id in self._called

    def result(self, result: Fields) -> None:
        """What a tool has said: a message of its own."""
        self._end_answer()
        self._results.append({**result, "tool_call_id": self._id(result["tool_call_id"])})

    def answer(
        self, parts: Sequence[Fields] = (), calls: Sequence[Fields] = (), thoughts: Sequence[Fields] = ()
    ) -> None:
        """More of what the model says in its turn."""
        if self._answer is None:
            self._answer = _Answer()
        self._answer.parts += parts
        self._called.update(call["id"] for call in calls)
        self._answer.calls += [{**call, "id": self._id(call["id"])} for call in calls]
        self._answer.thoughts += thoughts

    def messages(self) -> list[Fields]:
        self._end_answer()
        self._end_turn()
        return self._messages

    def _id(self, call_id: str) -> str:
        return call_id if self._call_ids is None else self._call_ids.of(call_id)

    def _say(self, role: str, parts: Sequence[Fields]) -> None:
        if parts:
            self._end_answer()
            self._said.append((role, [*parts]))

    def _end_answer(self) -> None:
        answer, self._answer = self._answer, None
        message = None if answer is None else answer.message(self._target)
        if message is not None:
            self._end_turn()
            self._messages.append(message)

    def _end_turn(self) -> None:
        """The results of a turn, and then what else was said in it."""
        self._messages += self._results
        said = self._said if self._takes_all else self._joined()
        self._messages += [{"role": role, "content": merged(parts)} for role, parts in said]
        self._results, self._said = [], []

    def _joined(self) -> list[tuple[str, list[Fields]]]:
        """The same as one message of the system, if it stands at the beginning, and one of the user."""
        system, user = list[Fields](), list[Fields]()
        begins = not self._messages
        for role, parts in self._said:
            begins = begins and role == "system"
            if begins:
                system += _apart(system, parts)
            else:
                user += _apart(user, [*map(_reminder, parts)] if role == "system" else parts)
        return [(role, parts) for role, parts in (("system", system), ("user", user)) if parts]


class _Answer:
    """One turn of the model."""

    def __init__(self) -> None:
        self.parts: list[Fields] = []
        self.calls: list[Fields] = []
        self.thoughts: list[Fields] = []

    def message(self, target: Target) -> Fields | None:
        """None for an answer that says nothing."""
        said = [part for part in self.parts if part.get("text") != ""]
        if not said and not self.calls:
            return None
        message: Fields = {"role": "assistant", "content": merged(said) if said else None}
        if self.calls:
            message["tool_calls"] = self.calls
        return message | thoughts_back(self.thoughts, target)


def thoughts_back(thoughts: Sequence[Fields], target: Target) -> Fields:
    """What a provider wants back of thoughts: Claude its signed blocks, others the text. OpenAI takes none."""
    signed = [each for each in thoughts if (each.get("signature") or UNSIGNED) != UNSIGNED or each.get("data")]
    if target.is_claude:
        return {"thinking_blocks": signed} if signed else {}
    texts: list[Any] = [each.get("thinking") for each in thoughts]
    text = "".join(text for text in texts if isinstance(text, str))
    if not text or target.is_openai:
        return {}
    return {"reasoning_content": text, "reasoning": text} if target.is_vllm else {"reasoning_content": text}


def _apart(before: Sequence[Fields], parts: Sequence[Fields]) -> list[Fields]:
    """Some parts after those of another message, as words of two: many servers put texts together as they are."""
    first, *rest = parts
    if before and "text" in first:
        first = {**first, "text": f"\n\n{first['text']}"}
    return [first, *rest]


def _reminder(part: Fields) -> Fields:
    text = part.get("text")
    return part if text is None else {**part, "text": f"<system-reminder>\n{text}\n</system-reminder>"}
