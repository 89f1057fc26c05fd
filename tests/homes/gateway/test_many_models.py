"""What each model more costs a gateway that starts, and one that is reloaded: function calls, the same on every machine.

A bound is what was counted when it was written, and a tenth more. Who makes the path shorter lowers it.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

from crplugins.config import Config
from crplugins.config.load import parse_text
from crplugins.homes.gateway.app import Gateway
from crplugins.testing import lifespan

FEW, MANY = 100, 300


def text_of(models: int, port: int = 9) -> str:
    entries = [
        f"""
  - model_name: m{number}
    litellm_params: {{model: openai/m{number}, api_base: "http://127.0.0.1:{port}/v1", api_key: sk-upstream-0123456789}}
    model_info: {{input_cost_per_token: 1.5e-7, output_cost_per_token: 6.0e-7}}"""
        for number in range(models)
    ]
    keys = "keys: [{id: a, secret: sk-many-0123456789}]\nmetrics: {token: null}\nmodel_list:"
    return keys + "".join(entries) + "\n"


class Calls:
    """Counts those of Python's functions within the block, in this thread, and in those that `run` calls."""

    def __init__(self) -> None:
        self.number = 0

    def _count(self, _frame: Any, event: str, _argument: Any) -> None:
        self.number += event == "call"

    def __enter__(self) -> Self:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def run(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self:
            return call(*args, **kwargs)


class Threads(ThreadPoolExecutor):
    """The threads of an event loop, whose calls are counted too."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(1)
        self._calls = calls
        self.hops = 0

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.hops += 1
        return super().submit(self._calls.run, call, *args, **kwargs)


def per_model(calls_of: Callable[[int], int]) -> float:
    calls_of(10)  # imports what is loaded late
    few, many, most = (calls_of(number) for number in (FEW, MANY, 2 * MANY - FEW))
    assert most - many <= 1.02 * (many - few), "it grows with the number of models, and not faster"
    return (many - few) / (MANY - FEW)


async def per_model_of(calls_of: Callable[[int], Awaitable[int]]) -> float:
    await calls_of(10)
    few, many, most = [await calls_of(number) for number in (FEW, MANY, 2 * MANY - FEW)]
    assert most - many <= 1.02 * (many - few), "it grows with the number of models, and not faster"
    return (many - few) / (MANY - FEW)


def read(models: int, port: int = 9) -> Config:
    return parse_text(text_of(models, port))


def test_a_model_is_read_with_few_calls() -> None:
    def calls_of(models: int) -> int:
        text = text_of(models)
        with Calls() as calls:
            parse_text(text)
        return calls.number

    assert per_model(calls_of) <= 286


def test_a_model_is_made_once_and_reckons_nothing_before_it_is_asked() -> None:
    def calls_of(models: int) -> int:
        config = read(models)
        with Calls() as calls:
            Gateway.from_config(config)
        return calls.number

    assert per_model(calls_of) <= 119


async def test_a_model_is_opened_with_few_calls_and_with_no_thread_of_its_own() -> None:
    hops: list[int] = []

    async def calls_of(models: int) -> int:
        gateway, calls = Gateway.from_config(read(models)), Calls()
        threads = Threads(calls)
        asyncio.get_running_loop().set_default_executor(threads)
        with calls:
            async with lifespan(gateway):
                hops.append(threads.hops)
        return calls.number

    assert await per_model_of(calls_of) <= 87
    assert len({*hops}) == 1


async def test_a_reload_keeps_the_event_loop_for_a_few_calls_of_each_model() -> None:
    async def calls_of(models: int) -> int:
        gateway = Gateway.from_config(read(models))
        async with lifespan(gateway):
            config = read(models, port=10)  # everything has changed
            with Calls() as calls:
                await gateway.reload(config)
        return calls.number

    assert await per_model_of(calls_of) <= 39


async def test_a_reload_in_which_all_models_change_grows_with_their_number_and_not_faster() -> None:
    async def calls_of(models: int) -> int:
        gateway, calls = Gateway.from_config(read(models)), Calls()
        async with lifespan(gateway):
            config = read(models, port=10)
            asyncio.get_running_loop().set_default_executor(Threads(calls))
            with calls:
                await gateway.reload(config)
        return calls.number

    assert await per_model_of(calls_of) <= 1160
