"""What stands around litellm calls few functions: litellm's own are not counted."""

from pathlib import Path

import litellm  # noqa: F401  # before the gateway is started, which does not wait for it as long as this may take

from tests.bench.calls import count, every_plugin


async def test_a_request_through_every_plugin_and_litellm_calls_few_functions(tmp_path: Path) -> None:
    calls = await count("litellm", every_plugin(tmp_path))
    assert calls.request <= 420
    assert calls.chunk <= 68
