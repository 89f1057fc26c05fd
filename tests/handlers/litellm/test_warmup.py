"""What litellm and OpenAI's SDK leave for their first call is done at start-up, whichever release is installed.

Each program runs in a process of its own: in this one litellm has long been called. Importing it takes longest, so that
those that only look at what comes after that begin with it done.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.warm import LITELLM

CHECKOUT = Path(__file__).parents[2]

FIRST_REQUESTS = """
import asyncio, json, logging, sys
from crplugins.handlers.litellm.loading import load_litellm
from crplugins.testing import FakeProvider, Script
from tests.litellm_setup import asking

logging.getLogger("crplugins").setLevel("CRITICAL")
late = []
def opened(event, arguments):
    # `<unknown>` is what a traceback asks for the line of, and no file.
    if event == "open" and watching and not str(arguments[0]).endswith((".py", ".pyc", ">")):
        late.append(f"file {arguments[0]}")
watching = False
sys.addaudithook(opened)

async def main(model, name, asked_for):
    global watching
    refusal = Script.error(400, "no")
    async with FakeProvider() as provider:
        async with asking(provider, model, name=name) as asked:
            await asyncio.sleep(0)
            before, watching = set(sys.modules), True
            await asked.plain(model=asked_for)
            await asked.stream(model=asked_for)
            provider.enqueue(refusal, refusal)
            await asked.refusal(model=asked_for)
            await asked.refusal(model=asked_for, stream=True)
            watching = False
            late.extend(sorted(set(sys.modules) - before))
    print(json.dumps(late))

load_litellm()
asyncio.run(main(*sys.argv[1:]))
"""

WARNINGS_ARE_ERRORS = """
import asyncio, warnings
warnings.simplefilter("error", UserWarning)
from crplugins.testing import FakeProvider
from tests.litellm_setup import asking

async def main():
    async with FakeProvider() as provider:
        async with asking(provider, "mistral/fake-model") as asked, asking(provider, "*", name="*") as any_model:
            await asked.plain()
            print((await any_model.plain(model="mistral/fake-model"))["choices"][0]["finish_reason"])

asyncio.run(main())
"""

TWO_LOOPS = """
import asyncio
from crplugins.testing import FakeProvider
from tests.litellm_setup import asking

async def main():
    async with asking(FakeProvider(), "openai/gpt", api_base=None, mock_response="hi") as asked:
        await asked.plain()

asyncio.run(main())
asyncio.run(main())
print("done")
"""


ENVIRONMENT = os.environ | {"PYTHONPATH": str(CHECKOUT)}


def run(python: list[str], program: str, *arguments: str) -> str:
    done = subprocess.run(
        [*python, "-c", program, *arguments], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert done.stderr == ""
    return done.stdout.strip()


CASES = [
    ("openai/gpt-4o-mini", "gpt", "gpt"),  # counted with a tokenizer that litellm does not load by itself
    ("hosted_vllm/fake-model", "vllm", "vllm"),
    ("azure/fake-model", "azure", "azure"),
    ("mistral/*", "*", "fake-model"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[-1])
def test_no_request_and_no_refusal_waits_for_imports_and_files(case):
    assert json.loads(run(LITELLM.command, FIRST_REQUESTS, *case)) == []


def test_warnings_that_the_host_makes_errors_do_not_keep_a_provider_from_loading():
    assert run([sys.executable], WARNINGS_ARE_ERRORS) == "stop"


def test_an_event_loop_that_ends_leaves_the_next_nothing_of_litellms_to_do():
    assert run(LITELLM.command, TWO_LOOPS) == "done"
