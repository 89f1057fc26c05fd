"""The example's own files, run as its README says."""

import shutil
from pathlib import Path

from crplugins.testing import FakeProvider
from tests.ports import free_port
from tests.proxy_setup import ENTRY, Proxy, needs_proxy, proxy_process

pytestmark = needs_proxy

EXAMPLE = Path(__file__).parents[2] / "examples" / "litellm_proxy"


async def test_the_example_answers_for_an_alias(tmp_path: Path) -> None:
    """Around the whole proxy, which has the callback and the authentication of the same files inside."""
    for name in ("config.yaml", "crplugins.yaml"):
        shutil.copy(EXAMPLE / name, tmp_path)
    async with FakeProvider(models=["gpt-4o-mini"]) as provider:
        environ = {
            "CONFIG_FILE_PATH": "config.yaml",
            "CRPLUGINS_CONFIG": "crplugins.yaml",
            "OPENAI_API_BASE": provider.base_url,
            "OPENAI_API_KEY": "sk-upstream",
            "TEAM_A_KEY": "sk-team-a-000001",
            "METRICS_TOKEN": "scrape-token",
        }
        with proxy_process(tmp_path, ENTRY, free_port(), environ) as url:
            proxy = Proxy(url, provider.port, tmp_path, tmp_path / "proxy.log")
            async with proxy.client("sk-team-a-000001") as client:
                answer = await client.chat.completions.create(
                    model="fast", messages=[{"role": "user", "content": "Hello"}]
                )
    assert answer.model == "fast"
    assert answer.choices[0].message.content
