"""A key, a limit and the metrics in front of a Django project: `uvicorn asgi:application`.

In a project of one's own only the last lines are new, in its `asgi.py`. Django's own views keep their paths; each path
but `public_paths` needs a key, so that a project with pages for people says which of them do not.
"""

import json
import os
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from crplugins import AuthMiddleware, MetricsMiddleware, RateLimitMiddleware

if not settings.configured:
    settings.configure(SECRET_KEY="change-me", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)


async def chat(request: HttpRequest) -> JsonResponse:
    """Stands for whatever answers in your project."""
    body = json.loads(request.body)
    message = {"role": "assistant", "content": "Hello from Django"}
    answer: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"]}
    answer["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    answer["usage"] = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return JsonResponse(answer)


async def home(request: HttpRequest) -> JsonResponse:  # noqa: ARG001
    return JsonResponse({"hello": "people"})


urlpatterns = [path("v1/chat/completions", chat), path("", home)]

django.setup()
application: Any = get_asgi_application()
application = RateLimitMiddleware(application, limits={"per_key": {"requests_per_minute": 3}})
application = AuthMiddleware(
    application,
    keys=[{"id": "team-a", "secret": os.environ.get("TEAM_A_KEY", "sk-team-a-change-me")}],
    public_paths=["/"],
)
application = MetricsMiddleware(application, metrics={"token": None})
