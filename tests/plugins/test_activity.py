"""Activity: what runs and what was refused, and nothing of what was said."""

import json

import msgspec
import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.errors import GatewayError
from crplugins.core.plugin import Plugin
from crplugins.plugins.activity import KEPT, SHOWN, Activity
from crplugins.plugins.auth import Auth
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.testing import Drive, PluginContract, drive

KEY = {"authorization": "Bearer sk-team-a-0123456789"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "a word nobody keeps"}]}
ANSWER = b'{"object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}'


class TestActivity(PluginContract):
    def make_plugin(self) -> Plugin:
        return Activity()


async def answers(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": ANSWER})


def around(app, *more):
    activity = Activity(now=lambda: 1_700_000_000.5)
    auth = Auth([{"id": "team-a", "secret": "sk-team-a-0123456789", "team": "search"}])
    return activity, PluginMiddleware(app, plugins=[activity, auth, *more])


async def test_a_request_is_among_the_running_from_its_beginning_to_its_end():
    seen = []

    async def app(scope, receive, send):
        seen.extend(activity.running())
        await answers(scope, receive, send)

    activity, guarded = around(app, RequestGuard())
    await drive(guarded, body=CHAT, headers=KEY)
    (running,) = seen
    assert (running.key_id, running.team, running.model, running.stream) == ("team-a", "search", "m", False)
    assert running.seconds >= 0
    assert running.started_at.startswith("2023-11-14T22:13:")
    assert list(activity.running()) == []
    assert activity.refused() == []


async def test_a_refusal_is_kept_with_why_and_without_what_was_asked():
    activity, guarded = around(answers, RequestGuard())
    await drive(guarded, body={**CHAT, "temperature": 9}, headers=KEY)
    (refused,) = activity.refused()
    assert (refused.key_id, refused.status, refused.error_type, refused.param) == (
        "team-a",
        400,
        "invalid_request",
        "temperature",
    )
    assert refused.at == "2023-11-14T22:13:20.500000Z"
    assert refused.message is None
    assert "a word nobody keeps" not in msgspec.json.encode(refused).decode()


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (GatewayError(429, "Rate limit reached for m", code="rate_limit_exceeded"), True),
        (GatewayError(400, "I cannot read: a word nobody keeps", error_type="upstream_4xx"), False),
        (GatewayError(400, "Invalid value: 'a word nobody keeps'", param="messages[0].role"), False),
        (GatewayError(502, "The provider said: a word nobody keeps", error_type="upstream_5xx"), False),
    ],
)
async def test_only_messages_that_cannot_quote_a_prompt_are_kept(error, shown):
    activity, guarded = around(answers, raises(error))
    await drive(guarded, body=CHAT, headers=KEY)
    assert [refused.message for refused in activity.refused()] == [error.error.message if shown else None]


def raises(error):
    class Raises(Plugin):
        def on_request(self, exchange):
            raise error

    return Raises()


async def test_a_flood_without_keys_drives_no_other_refusal_out_and_is_bounded():
    activity, guarded = around(answers, RequestGuard())
    await drive(guarded, body={**CHAT, "temperature": 9}, headers=KEY)
    for _ in range(KEPT + 20):
        await drive(guarded, body=CHAT, headers={"authorization": "Bearer sk-wrong"})
    refused = activity.refused()
    assert len(refused) == KEPT + 1
    assert {each.key_id for each in refused} == {None, "team-a"}


async def test_a_client_that_leaves_is_no_refusal_and_runs_no_more():
    async def waits(scope, receive, send):
        await receive()
        await receive()

    activity, guarded = around(waits)
    async with Drive(guarded, body=CHAT, headers=KEY) as call:
        call.disconnect()
        await call.finish()
    assert list(activity.running()) == []
    assert activity.refused() == []


async def test_names_that_a_client_wrote_are_cut_and_stay_on_one_line():
    activity, guarded = around(answers, RequestGuard(), raises(GatewayError(404, "no such model")))
    await drive(guarded, body={**CHAT, "model": "m\n" * 500}, headers=KEY)
    (refused,) = activity.refused()
    assert len(refused.model) <= 2 * 128
    assert "\n" not in refused.model


async def test_of_very_many_running_requests_the_oldest_are_shown():
    activity = Activity()
    exchanges = []

    class Keeps(Plugin):
        def on_request(self, exchange):
            exchanges.append(exchange)

    await drive(PluginMiddleware(answers, plugins=[Keeps()]), body=CHAT)
    (exchange,) = exchanges
    for number in range(SHOWN + 10):
        exchange.id = f"r{number}"
        activity.on_request(exchange)
    shown = list(activity.running())
    assert len(shown) == SHOWN
    assert json.loads(msgspec.json.encode(shown[0]))["model"] is None
