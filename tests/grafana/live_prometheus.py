"""A real Prometheus that scrapes every second, with the rules loaded."""

import asyncio
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.grafana.files import FOLDER, tool

CONFIGURATION = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [recording.yaml, alerts.yaml]
scrape_configs:
  - job_name: crplugins
    static_configs: [{{targets: ["{target}"]}}]
"""


@dataclass(frozen=True)
class Series:
    """Labels, and every value in the time that was asked for."""

    labels: dict[str, str]
    values: list[float]

    @property
    def finite(self) -> list[float]:
        return [value for value in self.values if math.isfinite(value)]


class LivePrometheus:
    """`async with LivePrometheus(folder, "127.0.0.1:4000", port) as prometheus:`; `options` are of its command line."""

    def __init__(self, folder: Path, target: str, port: int, *options: str) -> None:
        self._folder, self._port, self._options = folder, port, options
        self.url = f"http://127.0.0.1:{port}"
        (folder / "prometheus.yaml").write_text(CONFIGURATION.format(target=target))
        for name in ("recording", "alerts"):
            text = (FOLDER / "rules" / f"{name}.yaml").read_text()
            (folder / f"{name}.yaml").write_text(re.sub(r"interval: \w+", "interval: 1s", text))

    async def __aenter__(self) -> "LivePrometheus":
        command = [
            tool("prometheus"),
            f"--config.file={self._folder}/prometheus.yaml",
            f"--storage.tsdb.path={self._folder}/data",
            f"--web.listen-address=127.0.0.1:{self._port}",
            *self._options,
        ]
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        self._session = aiohttp.ClientSession()
        async with asyncio.timeout(30):
            while not await self._ready():  # noqa: ASYNC110  # a process of somebody else's sets no event
                await asyncio.sleep(0.1)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        self._process.terminate()
        await self._process.wait()

    async def range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        data = await self._get("query_range", query=expression, start=start, end=end, step=step)
        return [Series(each["metric"], [float(value) for _, value in each["values"]]) for each in data["result"]]

    async def instant(self, expression: str, at: float) -> list[Series]:
        data = await self._get("query", query=expression, time=at)
        if data["resultType"] == "scalar":
            return [Series({}, [float(data["result"][1])])]
        return [Series(each["metric"], [float(each["value"][1])]) for each in data["result"]]

    async def label_values(self, label: str, selector: str | None = None) -> list[str]:
        more = {} if selector is None else {"match[]": selector}
        found: list[str] = await self._get(f"label/{label}/values", **more)
        return found

    async def _ready(self) -> bool:
        assert self._process.returncode is None, (self._folder / "prometheus.log").read_text()
        try:
            async with self._session.get(f"{self.url}/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def _get(self, path: str, **parameters: Any) -> Any:
        async with self._session.get(f"{self.url}/api/v1/{path}", params=parameters) as response:
            answer = json.loads(await response.read())
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]
