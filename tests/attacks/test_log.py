"""Lines of the log that others write: no prompt, no key and no line of a client's or a provider's making."""

import json

import pytest

from tests.attacks.house import (
    HANDLERS,
    KEY,
    PROMPT,
    UPSTREAM_KEY,
    Door,
    House,
    chunk,
    events,
    http,
    question,
    refusal,
    response,
    send,
    streamed,
)

FORGED = "x\r\n2026-01-01 00:00:00,000 ERROR crplugins.auth: forged\x1b[2J\u2028forged\x85forged\u202eforged"

# Where a client writes it: name -> a request to a home whose model has this name.
CLIENTS = {
    "a model": lambda model: http(body=question(FORGED)),
    "a model of a wildcard": lambda model: http(body=question("w/" + FORGED)),
    "a model of a megabyte": lambda model: http(body=question("m" * 1_000_000)),
    "a user": lambda model: http(body=question(model, user=FORGED)),
    "a user of a megabyte": lambda model: http(body=question(model, user="u" * 1_000_000)),
    "a session": lambda model: http(body=question(model, metadata={"session_id": FORGED})),
    "a parameter": lambda model: http(body=question(model, **{FORGED: 1})),
    "a parameter of 250 characters": lambda model: http(body=question(model, **{"\u202e" * 250: 1})),
    "a role": lambda model: http(body=question(model, messages=[{"role": FORGED, "content": PROMPT}])),
    "a service tier": lambda model: http(body=question(model, service_tier=FORGED)),
    "a path": lambda model: http(b"/v1/chat/completions%0A2026%20ERROR%20crplugins.auth:%20forged%1B[2J", question(model)),
    "another path": lambda model: http(b"/%0D%0Aforged/%E2%80%A8forged%C2%85", question(model)),
    "a path of 60,000 characters": lambda model: http(b"/v1/chat/completions;" + b"f" * 60_000, question(model)),
    "a query": lambda model: http(b"/v1/chat/completions?key=" + KEY.encode() + b"%0Aforged", question(model), key=None),
    "a key": lambda model: http(body=question(model), key="sk-\u202eforged".encode().decode("latin-1")),
    "a key of 60,000 characters": lambda model: http(body=question(model), key="k" * 60_000),
    "a header": lambda model: http(body=question(model), headers=b"x-session-id: \x1b[2Jforged\xe2\x80\xa8forged\r\n"[:14] + b"forged\r\n"),
    "a trace": lambda model: http(body=question(model), headers=b"traceparent: 00-forged-forged-01\r\nbaggage: a=forged\r\n"),
    "a forwarded address": lambda model: http(body=question(model), headers=b"x-forwarded-for: forged, 1.2.3.4\r\nforwarded: for=forged\r\n"),
    "a request's id": lambda model: http(body=question(model), headers=b"x-request-id: forged\r\n"),
    "no HTTP": lambda model: b"forged \x1b[2J\r\n\r\n",
    "a host": lambda model: http(body=question(model), headers=b"host: forged\r\n"),
    "a content type": lambda model: http(body=question(model), content_type=b"text/forged"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_writes_no_line_and_no_long_one(door: Door, home: House, name: str) -> None:
    start = len(home.log.getvalue())
    send(door.port, CLIENTS[name](door.model))
    lines = home.log.getvalue()[start:].split("\n")
    assert all(line.isprintable() and len(line) < 5000 for line in lines)
    assert not any(line.startswith("2026-01-01") for line in lines)
    assert not any(word in "\n".join(lines) for word in (PROMPT, KEY, KEY[:20]))


SAYS = f"{PROMPT} {UPSTREAM_KEY} {FORGED}"
PROVIDERS = {
    "a refusal": refusal(SAYS),
    "words of a refusal": refusal("no", type=FORGED, param=FORGED, code=FORGED),
    "refused credentials": refusal(SAYS, "401 Unauthorized"),
    "a failure": refusal(SAYS, "500 Internal Server Error"),
    "a long failure": refusal(SAYS * 5000, "500 Internal Server Error"),
    "an error behind 200": response({"error": {"message": SAYS, "code": FORGED}}),
    "no completion": response({"said": SAYS}),
    "no JSON": response(SAYS.encode()),
    "a page": response(f"<html>{SAYS}</html>".encode(), kind="text/html"),
    "an unknown type": response(SAYS.encode(), kind=f"text/{UPSTREAM_KEY}"),
    "an error in a stream": streamed(events({"error": {"message": SAYS, "type": FORGED}})),
    "an error amid a stream": streamed(events(chunk({"content": "x"}), {"error": SAYS})),
    "no JSON in a stream": streamed(events(chunk({"content": "x"}), SAYS.encode().replace(b"\r\n", b""))),
    "a cut stream": streamed(b"data: " + json.dumps(chunk({"content": SAYS})).encode() + b"\n\n"),
    "a strange end": streamed(events(chunk({"content": SAYS}), chunk({}, FORGED))),
    "a model's name": response({"id": FORGED, "model": FORGED, "choices": [{"index": 0, "message": {"content": PROMPT}, "finish_reason": FORGED}]}),
    "a status line": b"HTTP/1.1 200 " + SAYS.encode().replace(b"\r\n", b" ") + b"\r\n\r\n",
    "a redirect": response(b"", "307 X", head=b"location: http://x/" + UPSTREAM_KEY.encode() + b"\r\n"),
    "a tier": response({"service_tier": FORGED, "choices": [{"index": 0, "message": {"content": PROMPT}, "finish_reason": "stop"}]}),
}  # fmt: skip


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("handler", HANDLERS)
def test_a_provider_writes_no_line_and_what_it_says_is_in_none(home: House, handler: str, name: str) -> None:
    start = len(home.log.getvalue())
    home.provider.answer = PROVIDERS[name]
    door = home.doors[handler]
    for more in ({}, {"stream": True}):
        door.post(question(door.model, **more))
    lines = home.log.getvalue()[start:].split("\n")
    assert all(line.isprintable() and len(line) < 5000 for line in lines)
    assert not any(word in "\n".join(lines) for word in (PROMPT, UPSTREAM_KEY, "forged"))
