"""How deployments fare, in a gateway's metrics."""

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from crplugins import Gateway
from crplugins.testing import FakeProvider, Script

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


async def scraped(session: aiohttp.ClientSession, url: str) -> dict[tuple[str, ...], float]:
    """The samples of both metrics, by the name, the deployment, and the state."""
    async with session.get(f"{url}/metrics") as answer:
        text = await answer.text()
    return {
        (sample.name.removeprefix("crplugins_"), *(sample.labels[each] for each in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("crplugins_deployment")
    }


async def test_a_deployment_that_keeps_failing_is_seen_to_cool_down(serve):
    async with FakeProvider() as failing, FakeProvider() as well:
        failing.enqueue(*[Script(status=503)] * 20)
        entries = [
            {"model_name": "m", "litellm_params": {"model": "openai/up", "api_base": base, "api_key": "sk-up", **more}}
            for base, more in (
                (failing.base_url, {"order": 1, "num_retries": 0}),
                (well.base_url, {}),
                (well.base_url, {"api_key": "sk-other"}),
            )
        ]
        keys = [{"id": "a", "secret": "sk-a"}]
        app = Gateway(
            model_list=[{**entry, "handler": "direct"} for entry in entries], keys=keys, metrics={"token": None}
        )
        async with serve(app) as url, aiohttp.ClientSession() as session:
            names = [f"openai/up at {base.split('/')[2]}" for base in (failing.base_url, well.base_url)]
            before = await scraped(session, url)
            for _ in range(4):
                headers = {"authorization": "Bearer sk-a"}
                async with session.post(f"{url}/v1/chat/completions", json=QUESTION, headers=headers) as answer:
                    assert answer.status == 200
            after = await scraped(session, url)
    assert [before["deployments", name, "m", "healthy"] for name in (*names, names[1] + " (2)")] == [1, 1, 1]
    assert before["deployment_cooldowns_total", names[0], "m"] == 0
    assert (after["deployments", names[0], "m", "healthy"], after["deployments", names[0], "m", "cooling"]) == (0, 1)
    assert after["deployment_cooldowns_total", names[0], "m"] == 1
    assert after["deployments", names[1], "m", "healthy"] == 1
