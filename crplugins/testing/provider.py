"""The fake provider as a process: `python -m crplugins.testing.provider --port 9100`.

Prints its base URL on one line and serves until SIGINT or SIGTERM. The class itself lives in `server`, so that
running this module does not import it twice.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import sys
from collections.abc import Sequence

from crplugins.testing.cassettes import load_cassettes
from crplugins.testing.script import Script
from crplugins.testing.server import FakeProvider

__all__ = ["FakeProvider", "main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until a signal comes."""
    arguments = _parser().parse_args(argv)
    # The usual soft limit of 1024 files ends a test of a few thousand streams.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if arguments.uvloop:
        import uvloop

        uvloop.run(_serve(arguments))
    else:
        asyncio.run(_serve(arguments))


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _provider(arguments) as provider:
        sys.stdout.write(f"{provider.base_url}\n")
        sys.stdout.flush()
        await stop.wait()


def _provider(arguments: argparse.Namespace) -> FakeProvider:
    default = Script(
        text=" ".join(["word"] * arguments.words) if arguments.words else None,
        usage=arguments.usage,
        delay=arguments.delay,
        frame_delay=arguments.frame_delay,
        write=int(arguments.write) if arguments.write.isdigit() else arguments.write,
        cut_after=arguments.cut_after,
        reset_after=arguments.reset_after,
    )
    cassettes = load_cassettes(arguments.cassettes) if arguments.cassettes else None
    return FakeProvider(
        host=arguments.host, port=arguments.port, default=default, cassettes=cassettes, keep_requests=100
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m crplugins.testing.provider", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 takes a free one")
    add("--words", type=int, help="answer every request with that many words, one token each")
    add("--usage", default="asked", choices=["asked", "on", "off", "in_finish_chunk"])
    add("--delay", type=float, default=0.0, metavar="S", help="seconds before the headers")
    add("--frame-delay", type=float, default=0.0, metavar="S", help="seconds between the writes of a stream")
    add("--write", default="frame", help="frame (default), all, or a number of bytes per write")
    add("--cut-after", type=int, metavar="K", help="end each body cleanly after K writes")
    add("--reset-after", type=int, metavar="K", help="drop each connection after K writes")
    add("--cassettes", metavar="DIR", help="folder of recordings, served as model replay-<id>")
    add("--uvloop", action="store_true", help="run on uvloop, which must be installed")
    return parser


if __name__ == "__main__":
    main()
