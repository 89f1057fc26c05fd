"""The fake provider with OpenAI's other endpoints that use tokens (/completions, /embeddings, /responses) and Google's."""

import json
import re
from collections.abc import Mapping
from typing import Any

from crplugins.testing import FakeProvider, ReceivedRequest, Script, usage_object
from crplugins.testing.reply import ProviderReply, reply_to
from crplugins.testing.script import EVENT_STREAM

_GOOGLES = re.compile(r"/models/(?P<model>[^/:]+):(?:streamG|g)enerateContent")
WORDS = ("Hello", " from", " the", " provider", ".")


class EveryEndpoint(FakeProvider):
    """Statuses, timing and faults are those of the model's script. Prompts count a token for every four bytes.

    Google's endpoints, which name the model in their path, give what its script has as `body` or `events`.
    """

    def _answer(self, request: ReceivedRequest) -> tuple[Script, ProviderReply]:
        if googles := _GOOGLES.search(request.path):
            script = self._repertoire.by_model[googles["model"]]
            return script, reply_to(script, request.json, id="", created=0)
        name = request.path.rpartition("/v1/")[2]
        answers = _ANSWERS.get(name)
        if answers is None or not isinstance(request.json, dict):
            return super()._answer(request)
        script = self._repertoire.by_model.get(request.model or "", self.default)
        if script.status >= 400 or (script.refuse_stream_options and "stream_options" in request.json):
            return script, reply_to(script, request.json, id="", created=0)
        return script, answers(request.json, script)


def _prompt_tokens(said: Any) -> int:
    return -(-len(json.dumps(said)) // 4)


def _completion(body: Mapping[str, Any], script: Script) -> ProviderReply:
    usage = usage_object(_prompt_tokens(body["prompt"]), len(WORDS))
    envelope = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"]}
    if not body.get("stream"):
        choice = {"index": 0, "text": "".join(WORDS), "logprobs": None, "finish_reason": "stop"}
        return _document({**envelope, "choices": [choice], **({} if script.usage == "off" else {"usage": usage})})
    chunks: list[Any] = [_text(envelope, word) for word in WORDS]
    chunks[-1]["choices"][0]["finish_reason"] = "stop"
    asked = (body.get("stream_options") or {}).get("include_usage")
    if script.usage == "on" or (asked and script.usage != "off"):
        chunks.append({**envelope, "choices": [], "usage": usage})
    return _events([b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"])


def _text(envelope: Mapping[str, Any], word: str) -> dict[str, Any]:
    return {**envelope, "choices": [{"index": 0, "text": word, "logprobs": None, "finish_reason": None}]}


def _embedding(body: Mapping[str, Any], script: Script) -> ProviderReply:
    del script
    tokens = _prompt_tokens(body["input"])
    data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _document({"object": "list", "data": data, "model": body["model"], "usage": usage})


def _response(body: Mapping[str, Any], script: Script) -> ProviderReply:
    del script
    done = _made_response(body, "completed")
    if not body.get("stream"):
        return _document(done)
    begun = {**_made_response(body, "in_progress"), "output": [], "usage": None}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events = [
        {"type": "response.created", "response": begun},
        *({"type": "response.output_text.delta", **place, "delta": word, "logprobs": []} for word in WORDS),
        {"type": "response.completed", "response": done},
    ]
    return _events([_named(event, number) for number, event in enumerate(events)])


def _made_response(body: Mapping[str, Any], status: str) -> dict[str, Any]:
    said = {"type": "output_text", "text": "".join(WORDS), "annotations": [], "logprobs": []}
    message = {"type": "message", "id": "msg_1", "status": status, "role": "assistant", "content": [said]}
    counted = _prompt_tokens(body["input"])
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": body["model"],
        "output": [message], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0,
        "usage": {
            "input_tokens": counted, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": len(WORDS), "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": counted + len(WORDS),
        },
    }  # fmt: skip


def _named(event: Mapping[str, Any], number: int) -> bytes:
    data = json.dumps({**event, "sequence_number": number})
    return f"event: {event['type']}\ndata: {data}\n\n".encode()


def _document(body: Any) -> ProviderReply:
    return ProviderReply(200, [("content-type", "application/json")], (json.dumps(body).encode(),), streamed=False)


def _events(frames: list[bytes]) -> ProviderReply:
    return ProviderReply(200, [("content-type", EVENT_STREAM)], tuple(frames), streamed=True)


_ANSWERS = {"completions": _completion, "embeddings": _embedding, "responses": _response}
