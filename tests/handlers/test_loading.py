"""A deployment that litellm is imported for: what waits for it, and what happens if the import fails."""

import asyncio

import pytest

from crplugins.core.errors import GatewayError
from crplugins.handlers.demo import DemoHandler
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.loading import Loading, Missing
from crplugins.handlers.routing.failures import remedy_of
from tests.litellm_setup import Asked

DEPLOYMENT = Deployment("m", "demo/echo")


async def test_a_request_waits_for_the_handler_and_a_later_one_does_not():
    loading = Loading(DEPLOYMENT)
    first = asyncio.create_task(Asked(loading).plain())
    await asyncio.sleep(0)
    assert not first.done()
    loading.done(DemoHandler(DEPLOYMENT))
    assert (await first)["choices"] == (await Asked(loading).plain())["choices"]


async def test_one_that_cannot_be_loaded_is_unreachable_for_all_who_wait_so_that_another_deployment_answers():
    loading = Loading(DEPLOYMENT)
    asked = [asyncio.create_task(Asked(loading).refusal()) for _ in range(2)]
    await asyncio.sleep(0)
    loading.failed(ImportError("no module named litellm"))
    for refusal in await asyncio.gather(*asked):
        assert (refusal.status, refusal.error.code) == (502, "upstream_unreachable")
        assert remedy_of(refusal) == "another"


async def test_one_that_loads_for_ever_is_a_503_with_retry_after_which_a_fallback_may_answer():
    refusal = await Asked(Loading(DEPLOYMENT, wait_seconds=0)).refusal()
    assert (refusal.status, refusal.error.type, refusal.error.code) == (503, "server_error", "model_loading")
    assert (b"retry-after", b"5") in refusal.headers
    assert remedy_of(refusal) == "another"


async def test_one_that_is_not_installed_is_refused_at_once_and_sdks_do_not_ask_again():
    refusal = await Asked(Missing("needs litellm")).refusal()
    assert (refusal.status, refusal.error.code) == (503, "model_not_installed")
    assert refusal.error.message.endswith(" needs litellm")
    assert (b"x-should-retry", b"false") in refusal.headers
    assert remedy_of(refusal) == "another"


async def test_a_client_that_leaves_waits_no_longer():
    loading = Loading(DEPLOYMENT)
    asked = asyncio.create_task(Asked(loading).reply())
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    loading.failed(GatewayError(500, "too late"))
