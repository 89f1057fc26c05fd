"""What limits, budgets and lists of models in shadow mode would have refused, as Prometheus sees it."""

from typing import Any

from crplugins import Gateway
from crplugins.testing import FakeProvider, Script, drive, lifespan, usage_object

SECRET = "sk-team-a-0123456789abcdef"
HEADERS = {"authorization": f"Bearer {SECRET}"}


async def test_all_that_shadows_would_have_refused_stands_in_one_counter() -> None:
    async with FakeProvider() as provider:
        params = {"api_base": provider.base_url, "api_key": "sk-up"}
        prices = {"input_cost_per_token": 1e-5, "output_cost_per_token": 1e-5}
        app = Gateway(
            model_list=[
                {"model_name": name, "litellm_params": {"model": f"openai/{name}-x", **params}, "model_info": prices}
                for name in ("listed", "other")
            ],
            keys=[
                {
                    "id": "a",
                    "secret": SECRET,
                    "models": ["listed"],
                    "models_shadow": True,
                    "limits": {"requests_per_minute": 1, "shadow": True},
                    "budget": {"usd": 0.001, "period": "day", "shadow": True},
                }
            ],
            metrics={"token": None},
        )
        provider.script("other-x", Script(usage_object=usage_object(1000, 1)))
        async with lifespan(app):
            for _ in range(3):
                body: dict[str, Any] = {
                    "model": "other",
                    "messages": [{"role": "user", "content": "hi"}],
                    "max_tokens": 1,
                }
                assert (await drive(app, body=body, headers=HEADERS)).status == 200
            scraped = (await drive(app, "GET", "/metrics")).body.decode().splitlines()
    assert {line for line in scraped if line.startswith("crplugins_shadow_refusals_total{")} == {
        'crplugins_shadow_refusals_total{reason="unknown_model"} 3.0',
        'crplugins_shadow_refusals_total{reason="rate_limited"} 2.0',
        'crplugins_shadow_refusals_total{reason="budget_exceeded"} 2.0',
    }
