"""One application, a relay to the provider, in six frameworks; ours are put around it afterwards."""

from typing import Any

from tests.homes.matrix.relay import PATHS, Relay

EVENTS = "text/event-stream"


def starlette_app(relay: Relay) -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route

    async def ask(request: Request) -> Response:
        answer = await relay.ask(request.url.path, await request.body())
        if answer.events is not None:
            return StreamingResponse(answer.events, answer.status, media_type=EVENTS)
        return Response(answer.body, answer.status, media_type=answer.kind)

    return Starlette(routes=[Route(path, ask, methods=["POST"]) for path in PATHS])


def fastapi_app(relay: Relay) -> Any:
    from fastapi import FastAPI, Request
    from fastapi.responses import Response, StreamingResponse

    app = FastAPI()

    async def ask(request: Request) -> Response:
        answer = await relay.ask(request.url.path, await request.body())
        if answer.events is not None:
            return StreamingResponse(answer.events, answer.status, media_type=EVENTS)
        return Response(answer.body, answer.status, media_type=answer.kind)

    for path in PATHS:
        app.post(path)(ask)
    return app


def litestar_app(relay: Relay) -> Any:
    from litestar import Litestar, Request, Response, post
    from litestar.response import Stream

    @post(list(PATHS))
    async def ask(request: Request) -> Response:
        answer = await relay.ask(request.url.path, await request.body())
        if answer.events is not None:
            return Stream(answer.events, status_code=answer.status, media_type=EVENTS)
        return Response(answer.body, status_code=answer.status, media_type=answer.kind)

    return Litestar([ask], logging_config=None)


def django_app(relay: Relay) -> Any:
    import django
    from django.conf import settings
    from django.core.handlers.asgi import ASGIHandler
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
    from django.urls import clear_url_caches, path

    async def ask(request: HttpRequest) -> Any:
        answer = await relay.ask(request.path, request.body)
        if answer.events is not None:
            return StreamingHttpResponse(answer.events, status=answer.status, content_type=EVENTS)
        return HttpResponse(answer.body, status=answer.status, content_type=answer.kind)

    class Urls:
        urlpatterns = tuple(path(each[1:], ask) for each in PATHS)

    if not settings.configured:
        settings.configure(SECRET_KEY="s", ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None, USE_TZ=True)
        django.setup(set_prefix=False)
    settings.ROOT_URLCONF = Urls
    clear_url_caches()
    return ASGIHandler()


def quart_app(relay: Relay) -> Any:
    from quart import Quart, Response, request

    app = Quart(__name__)

    async def ask() -> Response:
        answer = await relay.ask(request.path, await request.get_data())
        if answer.events is not None:
            return Response(answer.events, answer.status, content_type=EVENTS)
        return Response(answer.body, answer.status, content_type=answer.kind)

    for path in PATHS:
        app.post(path)(ask)
    return app


def blacksheep_app(relay: Relay) -> Any:
    from blacksheep import Application, Content, Request, Response, Router, StreamedContent

    app = Application(router=Router())  # the default one is shared by all applications

    async def ask(request: Request) -> Response:
        answer = await relay.ask(request.url.path.decode(), await request.read() or b"")
        if answer.events is not None:
            events = answer.events

            async def pieces() -> Any:
                async for piece in events:
                    yield piece

            return Response(answer.status, content=StreamedContent(EVENTS.encode(), pieces))
        return Response(answer.status, content=Content(answer.kind.encode(), answer.body))

    for path in PATHS:
        app.router.post(path)(ask)
    return app


APPS = {
    "fastapi": fastapi_app,
    "litestar": litestar_app,
    "django": django_app,
    "quart": quart_app,
    "blacksheep": blacksheep_app,
}
"""Those that the named middlewares stand before."""
