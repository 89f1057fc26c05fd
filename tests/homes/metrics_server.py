"""Two uvicorn workers with metrics: `python -m tests.homes.metrics_server [alone] [otlp=URL]` prints its port and serves.

`alone` leaves the workers without a folder to share; with `otlp` they push their metrics to the URL each second. A request for the model `hang` begins a stream and never ends it.
"""

import asyncio
import os
import socket
import sys
from contextlib import nullcontext

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.supervisors import Multiprocess

from crplugins.plugins.metrics.directory import multiprocess_directory

ANSWER = b'{"choices": [{"index": 0}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'


async def chat(scope: Scope, receive: Receive, send: Send) -> None:
    """Says which process answers."""
    body = (await receive())["body"]
    headers = [(b"content-type", b"application/json"), (b"x-pid", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if b"hang" in body:
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        await asyncio.get_running_loop().create_future()
    await send({"type": "http.response.body", "body": ANSWER})


class Quiet:
    """A ledger with a backlog in each process."""

    pending, spooled, dropped = 2, 0, 1


def make_app():
    """What every worker runs."""
    from crplugins.asgi.middleware import PluginMiddleware
    from crplugins.core.plugin import Plugin
    from crplugins.homes.metrics import MetricsApp, Scraper
    from crplugins.plugins.guard.plugin import RequestGuard
    from crplugins.plugins.metrics.plugin import Metrics

    class Buggy(Plugin):
        observes = True

        def on_finish(self, exchange):
            raise LookupError("bug")

    metrics = Metrics(["m", "hang"])
    scraper = Scraper(metrics, token=None)
    push: list[Plugin] = []
    if (url := os.environ.get(PUSHED)) is not None:
        from crplugins.config.metering import OtlpSection
        from crplugins.homes.metrics_push import MetricsPush

        push = [MetricsPush(scraper, OtlpSection(endpoint=url, interval_seconds=1))]
    app = PluginMiddleware(chat, plugins=[metrics, RequestGuard(), Buggy(), *push])
    metrics.observe_faults(app.faults)
    metrics.observe_ledger(Quiet())
    scraped = MetricsApp(scraper)

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        await (scraped if scope.get("path") == "/metrics" else app)(scope, receive, send)

    return either


PUSHED = "METRICS_SERVER_OTLP"


def main() -> None:
    for argument in sys.argv[1:]:
        if argument.startswith("otlp="):
            os.environ[PUSHED] = argument.removeprefix("otlp=")
    with socket.socket() as sock, nullcontext() if "alone" in sys.argv else multiprocess_directory() as directory:
        sock.bind(("127.0.0.1", 0))
        options = {"factory": True, "workers": 2, "log_level": "error", "timeout_graceful_shutdown": 1}
        config = uvicorn.Config(f"{__spec__.name}:make_app", **options)
        print(sock.getsockname()[1], directory, flush=True)
        Multiprocess(config, sockets=[sock]).run()


if __name__ == "__main__":
    main()
