"""Answers of any shape: the requested name in every byte of output, the served name in none, all other bytes equal."""

import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.testing import drive
from tests.core.doubles import EVENT_STREAM, JSON, App, messages

SERVED = "srv-9/é"
DATED = "srv-9/é-2024"
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
REQUESTED = st.sampled_from(["fast-1", 'q"uo\\te', "é☃", "a/b:c", " ", "model", '"model":"x"'])
SPACES = st.sampled_from(["", " ", "\t", " \n"])


def escaped(text, every):
    """A JSON string with each `every`-th character as an escape; 0 for none that is not needed."""
    if not every:
        return json.dumps(text, ensure_ascii=False)
    units = [
        f"\\u{ord(c):04x}" if i % every == 0 and ord(c) < 0x10000 else json.dumps(c, ensure_ascii=False)[1:-1]
        for i, c in enumerate(text)
    ]
    return '"' + "".join(units) + '"'


def values():
    """Members beside the top-level `model`, as JSON text; nested ones may be called `model` too."""
    strings = st.builds(
        escaped, TEXT | st.sampled_from(['"model"', '"model":"x"', "model", "\\u006d"]), st.integers(0, 2)
    )
    leaves = strings | st.sampled_from(["null", "true", "1e400", "-0.0", "123456789012345678901234567890"])
    keys = st.sampled_from(['"model"', '"m"', '"\\u006dodel"'])
    member = st.builds("{}:{}".format, keys, leaves)
    return (
        leaves
        | st.builds(lambda inner: "{" + ",".join(inner) + "}", st.lists(member, max_size=2))
        | st.builds("[{}]".format, leaves)
    )


@st.composite
def documents(draw, streamed=False):
    """A template with `%NAME%` for the top-level model's value, and how that value is spelt."""
    others = [(f'"k{number}"', draw(values())) for number in range(draw(st.integers(0, 3)))]
    if draw(st.booleans()) or streamed:  # what has no choices is no part of an answer
        others.append(('"choices"', '[{"index":0,"delta":{"content":"\\"model\\":1"},"model":"x"}]'))
    key = draw(st.sampled_from(['"model"', '"model"', '"model"', '"m\\u006Fdel"']))
    members = [*others]
    members.insert(draw(st.integers(0, len(others))), (key, "%NAME%"))
    space = draw(SPACES)
    body = ",".join(f"{space}{name}{space}:{space}{value}" for name, value in members)
    return "{" + body + space + "}", escaped(
        draw(st.sampled_from([SERVED, DATED, "srv-8", ""])), draw(st.integers(0, 2))
    )


def filled(template, value):
    return template.replace("%NAME%", value).encode()


def framed(data, ending):
    return b"data: " + data.replace(b"\n", b" ") + ending


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


async def ask(requested, bodies, content_type, status=200):
    app = App(sends=messages(*bodies, content_type=content_type, status=status))
    plugin = PluginMiddleware(app, plugins=[ModelAliases(aliases={"*": SERVED})])
    answer = await drive(plugin, body={"model": requested, "messages": [], "stream": content_type == EVENT_STREAM})
    assert json.loads(app.bodies[0])["model"] == SERVED
    return answer.body


@settings(deadline=None)
@given(REQUESTED, documents(), st.lists(st.integers(0, 500), max_size=3))
async def test_a_plain_answer_has_the_requested_name_and_otherwise_its_own_bytes(requested, document, places):
    template, value = document
    body = await ask(requested, cut(filled(template, value), places), JSON)
    assert body == filled(template, json.dumps(requested, ensure_ascii=False)) or json.loads(value) == requested
    assert SERVED not in json.dumps(json.loads(body), ensure_ascii=False)


@settings(deadline=None)
@given(REQUESTED, st.lists(documents(streamed=True), min_size=1, max_size=4), st.integers(1, 3), st.lists(st.integers(0, 2000), max_size=6),
       st.sampled_from([b"\n\n", b"\r\n\r\n"]))  # fmt: skip
async def test_every_chunk_has_the_requested_name_however_the_stream_is_cut(requested, chunks, times, places, ending):
    def stream(spell):
        frames = [framed(filled(template, spell(value)), ending) for template, value in chunks for _ in range(times)]
        return b": hello" + ending + b"".join(frames) + b"data: [DONE]" + ending

    body = await ask(requested, cut(stream(lambda value: value), places), EVENT_STREAM)
    assert body == stream(lambda value: json.dumps(requested, ensure_ascii=False))


@settings(deadline=None)
@given(REQUESTED, TEXT, TEXT, st.integers(0, 2), st.booleans())
async def test_an_error_has_the_served_name_in_none_of_its_bytes(requested, before, after, every, streamed):
    message = f"{before} `{SERVED}` and 'srv-9/é' {after}"
    error = f'{{"error":{{"message":{escaped(message, every)},"code":null}}}}'.encode()
    if streamed:
        body = (
            (await ask(requested, [framed(error, b"\n\n")], EVENT_STREAM)).removeprefix(b"data: ").partition(b"\n\n")[0]
        )
    else:
        body = await ask(requested, [error], JSON, status=404)
    told = json.loads(body)["error"]["message"]
    assert told == f"{before} `{requested}` and '{requested}' {after}"
