"""Responses that a provider keeps: read, gone on from, cancelled and deleted by the key alone that made them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.metering.record import UsageRecord
from crplugins.plugins.admission import Admission
from tests.conftest import serving
from tests.core.dialects.test_responses import Heard
from tests.handlers.test_responses_streams import Records, events_in
from tests.homes.keeping_provider import KeepingProvider
from tests.ledger.conftest import until

KEYS = {name: f"sk-test-of-{name}-{'x' * 20}" for name in ("ann", "bob")}
ACCOUNT = "sk-account-of-the-gateway"


class Kept:
    def __init__(self, url: str, providers: list[KeepingProvider], records: list[UsageRecord], app: Gateway) -> None:
        self.url, self.providers, self.records, self.app = url, providers, records, app

    async def ask(self, method: str, path: str, key: str = "ann", **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {KEYS[key]}"}
        async with httpx.AsyncClient(base_url=self.url, timeout=60, headers=headers) as client:
            return await client.request(method, path, **options)

    async def create(self, key: str = "ann", **more: Any) -> httpx.Response:
        return await self.ask("POST", "/v1/responses", key, json={"model": "fast", "input": "Hello", **more})

    async def made(self, key: str = "ann", **more: Any) -> str:
        answer = await self.create(key, **more)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])


def words(urls: list[str], **more: Any) -> dict[str, Any]:
    deployments = [
        {"model_name": "served", "litellm_params": {"model": "openai/m", "api_base": f"{url}/v1", "api_key": ACCOUNT}}
        for url in urls
    ]
    keys = [{"id": name, "secret": secret} for name, secret in KEYS.items()]
    return {"model_list": deployments, "keys": keys, "aliases": {"fast": "served"}, "num_retries": 0, **more}


@asynccontextmanager
async def keeping(number: int = 1, **more: Any) -> AsyncIterator[Kept]:
    providers = [KeepingProvider(name) for name in "abc"[:number]]
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(serving(provider)) for provider in providers]
        records = Records()
        app = Gateway(**words(urls, **more), plugins=[{"use": records, "before": "Auth"}])
        url = await stack.enter_async_context(serving(app))
        yield Kept(url, providers, records.made, app)


async def test_an_id_is_not_the_providers_and_the_same_in_every_answer() -> None:
    async with keeping() as kept:
        streamed = await kept.create(stream=True)
        ids = {event["response"]["id"] for event in events_in(streamed.content) if "response" in event}
        [mine] = ids
        assert mine.startswith("resp_")
        assert "resp_a1" not in streamed.text
        read = await kept.ask("GET", f"/v1/responses/{mine}")
        assert (read.status_code, read.json()["id"], read.json()["status"]) == (200, mine, "completed")
        items = await kept.ask("GET", f"/v1/responses/{mine}/input_items?limit=5&order=asc")
        assert items.json()["data"] == [{"id": "msg_0", "type": "message"}]
        cancelled = await kept.ask("POST", f"/v1/responses/{mine}/cancel")
        assert (cancelled.json()["id"], cancelled.json()["status"]) == (mine, "cancelled")
        deleted = await kept.ask("DELETE", f"/v1/responses/{mine}")
        assert deleted.json() == {"id": mine, "object": "response", "deleted": True}
        gone = await kept.ask("GET", f"/v1/responses/{mine}")
        assert gone.status_code == 404
        assert gone.json()["error"]["message"] == f"Response with id '{mine}' not found."
        paths = [(method, path, query) for method, path, query, _ in kept.providers[0].asked]
        assert paths == [
            ("POST", "/v1/responses", ""), ("GET", "/v1/responses/resp_a1", ""),
            ("GET", "/v1/responses/resp_a1/input_items", "limit=5&order=asc"),
            ("POST", "/v1/responses/resp_a1/cancel", ""), ("DELETE", "/v1/responses/resp_a1", ""),
            ("GET", "/v1/responses/resp_a1", ""),
        ]  # fmt: skip
        assert len(kept.records) == 1  # that of the response: none of the others used anything


async def test_another_keys_id_is_nothing_and_neither_is_the_providers_own() -> None:
    async with keeping() as kept:
        mine = await kept.made("ann")
        asked = len(kept.providers[0].asked)
        for key, shown in (
            ("bob", mine),
            ("ann", "resp_a1"),
            ("ann", mine[:-2] + "AA"),
            ("ann", "resp_"),
            ("ann", "x"),
        ):
            for method, below in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
                answer = await kept.ask(method, f"/v1/responses/{shown}{below}", key)
                assert answer.status_code == 404
                if shown != "resp_":
                    assert answer.json()["error"] == {
                        "message": f"Response with id '{shown}' not found.", "type": "invalid_request_error",
                        "param": None, "code": None,
                    }  # fmt: skip
            answer = await kept.create(key, previous_response_id=shown)
            assert (answer.status_code, answer.json()["error"]) == (400, {
                "message": f"Previous response with id '{shown}' not found.", "type": "invalid_request_error",
                "param": "previous_response_id", "code": "previous_response_not_found",
            })  # fmt: skip
        assert len(kept.providers[0].asked) == asked
        async with httpx.AsyncClient(base_url=kept.url, timeout=60) as client:
            assert (await client.get(f"/v1/responses/{mine}")).status_code == 401
        assert (await kept.ask("GET", f"/v1/responses/{mine}")).status_code == 200


@pytest.mark.parametrize(
    "path", ["/V1/responses/{}", "/v1//responses/{}", "/v1/responses/./{}", "/v1/Responses/{}/input_items",
             "/v1/%72esponses/{}", "/v1/responses/{}%2Finput_items", "/v1/models/../responses/{}"],
)  # fmt: skip
async def test_another_spelling_of_the_path_reaches_nobody(path: str) -> None:
    async with keeping() as kept:
        mine = await kept.made()
        asked = len(kept.providers[0].asked)
        for name in (mine, "resp_a1"):
            answer = await kept.ask("GET", path.format(name))
            assert answer.status_code in (200, 404)
            if answer.status_code == 404:
                assert len(kept.providers[0].asked) == asked
            else:  # httpx has made it the plain one
                asked = len(kept.providers[0].asked)
                assert name == mine


async def test_the_next_response_goes_to_where_the_one_before_is() -> None:
    async with keeping(3) as kept:
        for stream in (False, True):
            for _ in range(3):
                mine = await kept.made()
                [first] = [each for each in kept.providers if each.asked]
                for _ in range(2):
                    answer = await kept.create(previous_response_id=mine, stream=stream)
                    told = events_in(answer.content)[-1]["response"] if stream else answer.json()
                    assert told["previous_response_id"] == mine
                    assert told["id"] != mine
                    assert "resp_a" not in answer.text
                    mine = told["id"]
                assert [len(each.asked) for each in kept.providers if each is not first] == [0, 0]
                sent = [body.get("previous_response_id") for _, _, _, body in first.asked]
                assert all(each is None or ("Bearer " + ACCOUNT, each) in first.kept for each in sent)
                for each in kept.providers:
                    each.asked.clear()


async def test_nobody_answers_for_the_deployment_that_has_the_response() -> None:
    async with keeping(2, router_settings={"disable_cooldowns": True}) as kept:
        mine = await kept.made()
        owner = next(each for each in kept.providers if each.asked)
        other = next(each for each in kept.providers if each is not owner)
        owner.down = True
        answer = await kept.create(previous_response_id=mine)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "upstream_error")
        assert not other.asked
        assert (await kept.ask("GET", f"/v1/responses/{mine}")).status_code == 503
        assert (await kept.create()).status_code == 200  # what goes on from nothing fails over as ever
        owner.down = False
        assert (await kept.create(previous_response_id=mine)).status_code == 200


async def test_another_model_of_the_same_account_may_go_on() -> None:
    providers = [KeepingProvider("a"), KeepingProvider("b")]
    async with serving(providers[0]) as first, serving(providers[1]) as second:
        entry = {"model": "openai/small", "api_base": f"{first}/v1", "api_key": ACCOUNT}
        more = [{"model_name": "small", "litellm_params": entry},
                {"model_name": "elsewhere", "litellm_params": entry | {"api_base": f"{second}/v1"}}]  # fmt: skip
        configured = words([first])
        configured["model_list"] += more
        async with serving(Gateway(**configured)) as url:
            kept = Kept(url, providers, [], None)  # type: ignore[arg-type]
            mine = await kept.made()
            assert (await kept.create(model="small", previous_response_id=mine)).status_code == 200
            answer = await kept.create(model="elsewhere", previous_response_id=mine)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "previous_response_not_found")
            assert mine in answer.text
            assert "resp_a1" not in answer.text
            assert not providers[1].asked


async def test_ids_outlive_a_restart_a_reload_and_the_renaming_of_a_deployment() -> None:
    provider = KeepingProvider()
    async with serving(provider) as upstream:
        async with serving(Gateway(**words([upstream]))) as url:
            mine = await Kept(url, [provider], [], None).made()  # type: ignore[arg-type]
        renamed = words([upstream])
        renamed["model_list"][0]["model_name"] = "renamed"
        renamed["aliases"] = {"other": "renamed"}
        app = Gateway(**renamed)
        async with serving(app) as url:
            kept = Kept(url, [provider], [], app)
            assert (await kept.ask("GET", f"/v1/responses/{mine}")).json()["id"] == mine
            assert (await kept.create(model="other", previous_response_id=mine)).status_code == 200
            await app.reload(Gateway(**words([upstream], hidden_model_status=403)).config)
            assert (await kept.create(previous_response_id=mine)).status_code == 200
            await app.reload(Gateway(**words(["http://127.0.0.1:9"])).config)
            assert (await kept.ask("GET", f"/v1/responses/{mine}")).status_code == 404


async def test_a_secret_of_the_configuration_signs_and_is_rotated() -> None:
    provider, old, new = KeepingProvider(), "o" * 32, "n" * 32
    async with serving(provider) as upstream:
        app = Gateway(**words([upstream], responses={"secret": old}))
        async with serving(app) as url:
            kept = Kept(url, [provider], [], app)
            mine = await kept.made()
            await app.reload(Gateway(**words([upstream], responses={"secret": [new, old]})).config)
            assert (await kept.ask("GET", f"/v1/responses/{mine}")).status_code == 200
            later = await kept.made()
            assert (await kept.create(previous_response_id=mine)).status_code == 200
            await app.reload(Gateway(**words([upstream], responses={"secret": new})).config)
            assert (await kept.ask("GET", f"/v1/responses/{mine}")).status_code == 404
            assert (await kept.ask("GET", f"/v1/responses/{later}")).status_code == 200


async def test_a_stream_is_taken_up_where_the_client_has_left_it() -> None:
    async with keeping() as kept:
        mine = await kept.made()
        whole = events_in((await kept.ask("GET", f"/v1/responses/{mine}?stream=true")).content)
        assert {event["response"]["id"] for event in whole if "response" in event} == {mine}
        rest = await kept.ask("GET", f"/v1/responses/{mine}?stream=true&starting_after=3")
        assert rest.headers["content-type"].startswith("text/event-stream")
        assert events_in(rest.content) == whole[4:]
        assert Heard(rest.content).state.complete
        assert len(kept.records) == 1


async def test_what_is_not_stored_is_not_found() -> None:
    async with keeping() as kept:
        mine = await kept.made(store=False)
        assert (await kept.ask("GET", f"/v1/responses/{mine}")).json()["error"]["message"] == (
            f"Response with id '{mine}' not found."
        )
        answer = await kept.create(previous_response_id=mine)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "previous_response_not_found")
        assert "resp_a1" not in answer.text


@pytest.mark.parametrize("more", [{"conversation": "conv_1"}, {"conversation": {"id": "conv_1"}}])
async def test_what_cannot_be_bound_or_counted_is_refused(more: dict[str, Any]) -> None:
    async with keeping() as kept:
        answer = await kept.create(**more)
        [name] = more
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_parameter", name)
        assert not kept.providers[0].asked
        assert (await kept.create(conversation=None, background=False)).status_code == 200


async def test_a_method_that_a_path_has_not_is_told() -> None:
    async with keeping() as kept:
        mine = await kept.made()
        answer = await kept.ask("PATCH", f"/v1/responses/{mine}")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, DELETE")
        assert (await kept.ask("GET", f"/v1/responses/{mine}/compact")).status_code == 404
        assert len(kept.providers[0].asked) == 1


async def test_of_a_query_about_a_response_the_provider_sees_what_openai_documents() -> None:
    async with keeping() as kept:
        mine = await kept.made()
        query = "include[]=reasoning.encrypted_content&limit=5&api-version=1&key=x&limit=5;x&order=a/../b"
        assert (await kept.ask("GET", f"/v1/responses/{mine}/input_items?{query}")).status_code == 200
        _, path, seen, _ = kept.providers[0].asked[-1]
        assert path == "/v1/responses/resp_a1/input_items"
        assert seen in (
            "include[]=reasoning.encrypted_content&limit=5",
            "include%5B%5D=reasoning.encrypted_content&limit=5",
        )


async def test_a_full_process_takes_no_question_about_a_kept_response_either() -> None:
    """Read as a stream it holds what any other answer holds."""
    async with keeping(server={"max_in_flight": 1}) as kept:
        mine = await kept.made()
        (admission,) = [plugin for plugin in kept.app.plugins if isinstance(plugin, Admission)]
        _, writer = await asyncio.open_connection("127.0.0.1", int(kept.url.rpartition(":")[2]))
        head = f"POST /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEYS['bob']}\r\ncontent-length: 9\r\n\r\n"
        writer.write(head.encode())
        await until(lambda: admission.in_flight == 1)
        for method, path in (("GET", ""), ("GET", "?stream=true"), ("POST", "/cancel"), ("DELETE", "")):
            full = await kept.ask(method, f"/v1/responses/{mine}{path}")
            assert (full.status_code, full.json()["error"]["code"]) == (503, "server_full")
        writer.close()
        await until(lambda: admission.in_flight == 0)
        assert (await kept.ask("GET", f"/v1/responses/{mine}")).status_code == 200
        await until(lambda: admission.in_flight == 0)
