"""Tests let models share what is learnt of them: those would have learnt the same, each on its own."""

from crplugins.handlers.litellm import client
from crplugins.handlers.litellm.rehearsal import rehearse
from crplugins.testing import FakeProvider
from tests.integration.metering_traffic import CASES
from tests.litellm_setup import asking
from tests.long import times

NAMES = sorted(CASES)[:: times(len(CASES) // 3, 1)]


async def test_models_that_share_a_rehearsal_learn_the_same_without(monkeypatch):
    learnt = {}

    async def alone(model, *rest):
        rehearsed = await rehearse(model, *rest)
        assert rehearsed is not None
        assert model.name not in repr((model.additions, model.answers))
        urls = {each.url.removeprefix(str(model._base)) for each in model.additions.values()}
        learnt[model.name] = (model.uses_sdk, model.leaves_texts, model.as_given, model.answers, rehearsed, urls)
        return rehearsed

    monkeypatch.setattr(client, "rehearse", alone)
    async with FakeProvider() as provider:
        for name in NAMES:
            async with asking(provider, f"openai/{name}"):
                pass
    assert list(learnt) == NAMES
    assert all(each == learnt[NAMES[0]] for each in learnt.values())
