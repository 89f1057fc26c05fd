"""The example package, built and installed as pip does it, in a gateway that knows it by its declared name."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest
import yaml

from crplugins.cli.startup_log import STARTING
from crplugins.config import ConfigError, load_config
from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script
from tests.warm import warm_crplugins

PACKAGE = Path(__file__).parents[2] / "examples" / "plugin_package"
HELLO = [{"role": "user", "content": "Say hello to the gateway, please."}]
TEXT = "one two three four five six seven eight nine ten eleven twelve"
STRICT = "sk-strict-0001"
SECONDS = 60  # for a process to start on a busy machine

Environ = Mapping[str, str]


@pytest.fixture(scope="module")
def environ(installed: Path) -> Environ:
    """Of a process that has the package installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CRPLUGINS_")}
    keys = {"OPENAI_API_KEY": "sk-upstream", "TRIAL_KEY": "sk-trial-00001", "TEAM_A_KEY": "sk-team-a-0001"}
    paths = {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, **keys, **paths, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}


@asynccontextmanager
async def gateway(config: Path, environ: Environ) -> AsyncIterator[str]:
    """`crplugins serve` in a process; its URL."""
    process = await asyncio.create_subprocess_exec(
        *warm_crplugins("serve", "--port", 0, "--config", config), env=environ, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), SECONDS)).decode()
        yield line.split(" listens on ")[1].split()[0]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The example's file, with a key that is refused what others are cut at."""
    document = yaml.safe_load((PACKAGE / "gateway.yaml").read_text())
    document["keys"].append({"id": "strict", "secret": STRICT, "tags": {"tenant": "strict"}})
    refusing = {
        "use": "output-ceiling",
        "before": "RateLimits",
        "tag": "tenant",
        "ceilings": {"strict": 8},
        "above": "refuse",
    }
    document["plugins"].append(refusing)
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


async def test_the_plugin_works_in_a_gateway_that_names_it_by_its_declared_name(environ: Environ, config: Path) -> None:
    async with FakeProvider(default=Script(text=TEXT)) as provider:
        upstream = {"OPENAI_BASE_URL": provider.base_url}
        async with (
            gateway(config, {**environ, **upstream}) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=environ["TRIAL_KEY"], max_retries=0) as trial,
        ):
            raw = await trial.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=HELLO)
            assert provider.last_request.json["max_completion_tokens"] == 8
            assert raw.headers["x-output-ceiling"] == "8"
            choice = raw.parse().choices[0]
            said = choice.message.content or ""
            assert (choice.finish_reason, said.endswith(" [cut at 8 tokens]")) == ("length", True)

            stream = await trial.chat.completions.create(
                model="gpt-4o-mini", messages=HELLO, max_tokens=500, stream=True
            )
            chunks = [chunk async for chunk in stream]
            assert provider.last_request.json["max_tokens"] == 8
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == said

            gold = trial.with_options(api_key=environ["TEAM_A_KEY"])
            answer = await gold.chat.completions.create(model="gpt-4o-mini", messages=HELLO, max_tokens=500)
            assert provider.last_request.json["max_tokens"] == 500
            assert answer.choices[0].message.content == TEXT

            strict = trial.with_options(api_key=STRICT)
            with pytest.raises(openai.BadRequestError, match=r"9\. Your key allows at most 8 output tokens") as caught:
                await strict.chat.completions.create(model="gpt-4o-mini", messages=HELLO, max_tokens=9)
            assert (caught.value.param, caught.value.code) == ("max_tokens", "invalid_value")


def test_a_wrong_option_is_told_with_its_line(environ: Environ, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(environ["PYTHONPATH"])
    config.write_text(config.read_text().replace("default:", "defualt:").replace("above: refuse", "above: refused"))
    with pytest.raises(ConfigError) as caught:
        Gateway.from_config(load_config(config, environ))
    assert [(problem.path[-1], problem.message) for problem in caught.value.problems] == [
        ("defualt", "unknown option, did you mean 'default'?"),
        ("above", "must be one of lower, refuse, did you mean 'refuse'?"),
    ]
    lines = config.read_text().splitlines()
    assert all(str(problem.path[-1]) in lines[(problem.line or 0) - 1] for problem in caught.value.problems)


def test_a_package_that_cannot_be_imported_ends_with_2_before_anything_listens(
    environ: Environ, tmp_path: Path
) -> None:
    (tmp_path / "output_ceiling.py").write_text("raise RuntimeError('no licence')\n")
    paths = os.pathsep.join([str(tmp_path), environ["PYTHONPATH"]])
    done = subprocess.run(
        warm_crplugins("serve", "--port", 0, "--config", PACKAGE / "gateway.yaml"),
        env={**environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.removeprefix(STARTING) == (
        f"{PACKAGE / 'gateway.yaml'}, line 10: plugins[0].use: the plugin 'output-ceiling' of output-ceiling 1.0.0 cannot "
        "be imported (RuntimeError: no licence)\n"
    )
