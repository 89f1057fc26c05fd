"""How many functions a request and a chunk call: what they cost cannot creep up unseen on a busy machine.

A bound is what was counted when it was written, and a tenth more. Who makes the path shorter lowers it.
"""

from pathlib import Path

from tests.bench.calls import BARE, count, every_plugin


async def test_a_request_with_a_key_and_an_alias_calls_few_functions() -> None:
    calls = await count("direct", BARE)
    assert calls.request <= 276
    assert calls.chunk <= 48
    assert calls.pushed <= 9


async def test_a_request_through_every_plugin_calls_few_functions(tmp_path: Path) -> None:
    calls = await count("direct", every_plugin(tmp_path))
    assert calls.request <= 382
    assert calls.chunk <= 50  # 46 to 48, as pieces of a stream fall together on a busy machine
    assert calls.pushed <= 10
