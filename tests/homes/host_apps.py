"""The same chat application in six frameworks, with ASGI middleware added as each of them has it added."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.homes.host_model import HostModel

CHAT = "/v1/chat/completions"

Layers = Sequence[Any]
"""starlette.middleware.Middleware, innermost first."""


def around(app: Any, layers: Layers) -> Any:
    for layer in layers:
        app = layer.cls(app, *layer.args, **layer.kwargs)
    return app


def starlette_app(model: HostModel, layers: Layers) -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    async def chat(request: Request) -> Any:
        body = await request.json()
        if body.get("stream"):
            return StreamingResponse(model.events(body), media_type="text/event-stream")
        return JSONResponse(model.answer(body))

    async def hello(request: Request) -> Any:
        return JSONResponse({"hello": "host"})

    app = Starlette(routes=[Route(CHAT, chat, methods=["POST"]), Route("/hello", hello)])
    for layer in layers:
        app.add_middleware(layer.cls, *layer.args, **layer.kwargs)
    return app


def fastapi_app(model: HostModel, layers: Layers) -> Any:
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    app = FastAPI()

    @app.post(CHAT)
    async def chat(body: dict[str, Any]) -> Any:
        if body.get("stream"):
            return StreamingResponse(model.events(body), media_type="text/event-stream")
        return model.answer(body)

    @app.get("/hello")
    async def hello() -> Any:
        return {"hello": "host"}

    for layer in layers:
        app.add_middleware(layer.cls, *layer.args, **layer.kwargs)
    return app


def litestar_app(model: HostModel, layers: Layers) -> Any:
    from litestar import Litestar, Request, get, post
    from litestar.response import Stream

    @post(CHAT, status_code=200)
    async def chat(request: Request) -> Any:
        body = await request.json()
        if body.get("stream"):
            return Stream(model.events(body), headers={"content-type": "text/event-stream"})
        return model.answer(body)

    @get("/hello")
    async def hello() -> dict[str, str]:
        return {"hello": "host"}

    return around(Litestar([chat, hello], logging_config=None), layers)


def django_app(model: HostModel, layers: Layers) -> Any:
    import django
    from django.conf import settings
    from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
    from django.urls import path

    async def chat(request: HttpRequest) -> Any:
        body = json.loads(request.body)
        if body.get("stream"):
            return StreamingHttpResponse(model.events(body), content_type="text/event-stream")
        return JsonResponse(model.answer(body))

    async def hello(request: HttpRequest) -> Any:
        return JsonResponse({"hello": "host"})

    class Urls:
        urlpatterns = (path(CHAT[1:], chat), path("hello", hello))

    if not settings.configured:
        settings.configure(SECRET_KEY="s", ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None, USE_TZ=True)
        django.setup(set_prefix=False)
    from django.core.handlers.asgi import ASGIHandler
    from django.urls import clear_url_caches

    settings.ROOT_URLCONF = Urls
    clear_url_caches()
    return around(ASGIHandler(), layers)


def quart_app(model: HostModel, layers: Layers) -> Any:
    from quart import Quart, request

    app = Quart(__name__)

    @app.post(CHAT)
    async def chat() -> Any:
        body = await request.get_json()
        if body.get("stream"):
            return model.events(body), {"content-type": "text/event-stream"}
        return model.answer(body)

    @app.get("/hello")
    async def hello() -> Any:
        return {"hello": "host"}

    app.asgi_app = around(app.asgi_app, layers)
    return app


def blacksheep_app(model: HostModel, layers: Layers) -> Any:
    from blacksheep import Application, Content, Request, Response, Router, StreamedContent
    from blacksheep import json as as_json

    app = Application(router=Router())  # the default one is shared by all applications

    @app.router.post(CHAT)
    async def chat(request: Request) -> Response:
        body = await request.json()

        async def events() -> Any:
            async for event in model.events(body):
                yield event

        if body.get("stream"):
            return Response(200, content=StreamedContent(b"text/event-stream", events))
        return Response(200, content=Content(b"application/json", json.dumps(model.answer(body)).encode()))

    @app.router.get("/hello")
    async def hello() -> Response:
        return as_json({"hello": "host"})

    return around(app, layers)


APPS: dict[str, Callable[[HostModel, Layers], Any]] = {
    "starlette": starlette_app,
    "fastapi": fastapi_app,
    "litestar": litestar_app,
    "django": django_app,
    "quart": quart_app,
    "blacksheep": blacksheep_app,
}
