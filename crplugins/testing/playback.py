"""Writes a reply to a connection with the timing and the faults of its script."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import responses

import h11

from crplugins.testing.connection import Connection
from crplugins.testing.received import Progress
from crplugins.testing.reply import ProviderReply
from crplugins.testing.script import Script


@dataclass(frozen=True, slots=True)
class _Write:
    """The bytes of one write and how many frames are out, whole, once it is done."""

    data: bytes
    frames_out: int


_BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


async def play(script: Script, reply: ProviderReply, connection: Connection, progress: Progress) -> None:
    """Send `reply`. Returns when nothing more will be sent; is cancelled when the client goes."""
    await _pause(script.delay)
    if script.refuse_connection:
        connection.reset()
        return
    await _send_head(script, reply, connection)
    await _pause(script.first_byte_delay)
    has_body = connection.wants_body and reply.status not in _BODILESS
    writes = list(_writes(reply.frames, script.write)) if has_body else []
    for number, write in enumerate(writes):
        if await _fault(script, number, reply, connection):
            return
        if number:
            await _pause(script.frame_delay)
        await connection.send(connection.framed(h11.Data(data=write.data)))
        progress.frames_sent = write.frames_out
        progress.bytes_sent += len(write.data)
    if await _fault(script, len(writes), reply, connection):
        return
    progress.completed = True
    if end := connection.framed(h11.EndOfMessage()):
        await connection.send(end)  # not else: whoever has read a plain body may look at once how it went


async def _send_head(script: Script, reply: ProviderReply, connection: Connection) -> None:
    """A body without a length is sent in chunks."""
    length = [] if reply.streamed else [("content-length", str(sum(map(len, reply.frames))))]
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in [*reply.headers, *length]]
    phrase = responses.get(reply.status, "Unknown").encode()
    head = connection.framed(h11.Response(status_code=reply.status, headers=headers, reason=phrase))
    if script.slow_headers is None:
        await connection.send(head)
        return
    for byte in head:
        await connection.send(bytes((byte,)))
        await _pause(script.slow_headers)


async def _fault(script: Script, number: int, reply: ProviderReply, connection: Connection) -> bool:
    """True if a fault is due before write `number`, after it happened: nothing more may be sent."""
    if script.stall_after == number:
        await asyncio.Event().wait()
    if script.reset_after == number:
        connection.reset()
        return True
    if script.close_after == number:
        connection.close()
        return True
    if script.cut_after != number:
        return False
    if reply.streamed:
        await connection.send(connection.framed(h11.EndOfMessage()))
    else:  # a body with a length can only be cut by closing: its client sees that bytes are missing
        connection.close()
    return True


def _writes(frames: Sequence[bytes], write: str | int) -> Iterator[_Write]:
    if write == "all":
        yield _Write(b"".join(frames), len(frames))
        return
    if isinstance(write, str):
        yield from (_Write(data, number) for number, data in enumerate(frames, 1) if data)
        return
    body, out, end = b"".join(frames), 0, len(frames[0]) if frames else 0
    for start in range(0, len(body), write):
        while out < len(frames) and end <= start + write:
            out += 1
            end += len(frames[out]) if out < len(frames) else 0
        yield _Write(body[start : start + write], out)


async def _pause(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
