"""A stream of Anthropic's that counts its input at the start, and what servers then write for it at the end."""

import json
from typing import Any, Final

from crplugins.testing import Script

INPUT: Final = 25 + 7
OUTPUT: Final = 15
COUNTED_AT_THE_START: Final = {"input_tokens": 25, "cache_read_input_tokens": 7, "output_tokens": 1}

ENDS: Final[dict[str, dict[str, Any]]] = {
    "output alone": {"output_tokens": OUTPUT},
    "all of it again": {**COUNTED_AT_THE_START, "output_tokens": OUTPUT},
    "no input": {"input_tokens": 0, "output_tokens": OUTPUT},
    "nothing for input": {"input_tokens": None, "output_tokens": OUTPUT},
    "nothing from the cache": {"input_tokens": 25, "cache_read_input_tokens": 0, "output_tokens": OUTPUT},
}


def counted_at_the_start(end: dict[str, Any], **timing: Any) -> Script:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-claude", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "stop_reason": None, "usage": COUNTED_AT_THE_START}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello there"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": end},
        {"type": "message_stop"},
    ]
    frames = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    return Script(events=frames, **timing)
