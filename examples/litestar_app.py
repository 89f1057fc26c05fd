"""A key and a limit in front of a Litestar application: `uvicorn litestar_app:app`.

They stand around the whole application, not in its `middleware=[...]`: so they know when it starts and stops, and see
requests that match no route too.
"""

import os
from typing import Any

from litestar import Litestar, Request, post

from crplugins import AuthMiddleware, ModelAliasMiddleware, RateLimitMiddleware


@post("/v1/chat/completions", status_code=200)
async def chat(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Stands for whatever answers in your application."""
    body = await request.json()
    message = {"role": "assistant", "content": f"Hello from {body['model']}"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


app: Any = Litestar([chat])
app = ModelAliasMiddleware(app, aliases={"fast": "llama"})
app = RateLimitMiddleware(app, limits={"per_key": {"requests_per_minute": 3}})
app = AuthMiddleware(app, keys=[{"id": "team-a", "secret": os.environ.get("TEAM_A_KEY", "sk-team-a-change-me")}])
