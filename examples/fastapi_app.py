"""Keys, limits, records and metrics in front of one's own FastAPI application: `uvicorn fastapi_app:app`."""

import json
import os
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from crplugins import AuthMiddleware, MetricsMiddleware, RateLimitMiddleware, StreamUsageMiddleware, UsageMiddleware

app = FastAPI()
KEY = os.environ.get("TEAM_A_KEY", "sk-team-a-change-me")
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@app.post("/v1/chat/completions")
async def chat(body: dict[str, Any]) -> Any:
    """Stands for whatever answers in your application."""
    if body.get("stream"):
        return StreamingResponse(events(body), media_type="text/event-stream")
    message = {"role": "assistant", "content": "Hello there"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {**head(body, "chat.completion"), "choices": [choice], "usage": USAGE}


async def events(body: dict[str, Any]) -> AsyncIterator[str]:
    for delta, end in (({"content": "Hello"}, None), ({"content": " there"}, "stop")):
        choice = {"index": 0, "delta": delta, "finish_reason": end}
        yield f"data: {json.dumps({**head(body, 'chat.completion.chunk'), 'choices': [choice]})}\n\n"
    if (body.get("stream_options") or {}).get("include_usage"):
        yield f"data: {json.dumps({**head(body, 'chat.completion.chunk'), 'choices': [], 'usage': USAGE})}\n\n"
    yield "data: [DONE]\n\n"


def head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": body["model"]}


app.add_middleware(StreamUsageMiddleware)
app.add_middleware(RateLimitMiddleware, limits={"per_key": {"requests_per_minute": 3}})
app.add_middleware(UsageMiddleware, sinks=[lambda record: print(record.key_id, record.usage)])
app.add_middleware(
    AuthMiddleware, keys=[{"id": "team-a", "secret": os.environ.get("TEAM_A_KEY", "sk-team-a-change-me")}]
)
app.add_middleware(MetricsMiddleware, metrics={"token": None}, models=["echo"])
