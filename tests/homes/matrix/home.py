"""Home: one place where plugins run, seen from outside: its clients, its provider, its books and its metrics."""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import openai
from prometheus_client.parser import text_string_to_metric_families

from crplugins.core.dialects import Dialect
from crplugins.testing import FakeProvider
from tests.homes.matrix.relay import CHAT
from tests.homes.matrix.stage import Stage
from tests.homes.matrix.witness import unfinished
from tests.homes.matrix.words import ALIAS, METRICS_PATH, secret

HELLO: Any = [{"role": "user", "content": "Say hello to the gateway, please."}]
HTTP = httpx.Client(timeout=180, verify=False, trust_env=False)
"""One for all: a client that reads the certificates of this machine each time takes longer than the request.

The first answer through litellm waits for its import, a minute where others work too.
"""

PATIENCE = 60.0
"""Seconds until what must come is given up."""

Row = sqlite3.Row


def until(found: Callable[[], Any], what: str, within: float = PATIENCE) -> Any:
    """The first true value of `found`; AssertionError if none comes."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.02)
    raise AssertionError(f"in vain waited for {what}")


@dataclass
class Home:
    """A running home. `credential` is what a caller shows for a key."""

    name: str
    stage: Stage
    provider: FakeProvider
    folder: Path
    url: str = ""
    credential: Callable[[str], str] = secret
    log: Callable[[], str] = field(default=lambda: "")

    def headers(self, key_id: str | None) -> dict[str, str]:
        return {} if key_id is None else {"authorization": f"Bearer {self.credential(key_id)}"}

    def post(
        self,
        key_id: str | None,
        *,
        data: bytes | None = None,
        more_headers: Mapping[str, str] = MappingProxyType({}),
        **body: Any,
    ) -> httpx.Response:
        """The whole answer of a chat completion; `data` instead of a good body."""
        content = json.dumps({"model": ALIAS, "messages": HELLO, **body}).encode() if data is None else data
        headers = {"content-type": "application/json", **self.headers(key_id), **more_headers}
        return HTTP.post(self.url + CHAT, content=content, headers=headers)

    def ask(self, dialect: Dialect, key_id: str | None, **body: Any) -> httpx.Response:
        """The whole answer to a short request in any protocol."""
        said = HELLO if dialect.prompt[0] == "messages" else HELLO[0]["content"]
        content = {"model": ALIAS, dialect.prompt[0]: said, **body}
        return HTTP.post(f"{self.url}/v1{dialect.path}", json=content, headers=self.headers(key_id))

    def send(self, dialect: Dialect, key_id: str | None, **body: Any) -> httpx.Response:
        """The same in a protocol that passes as it is; recordings and pictures as a form."""
        content = {"model": ALIAS, **body}
        sent: Any = {"json": content}
        if dialect.form:
            file = ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(64), "image/png")
            if not dialect.pictures:
                file = ("a.wav", b"RIFF" + bytes(64), "audio/wav")
            sent = {"data": content, "files": {"image" if dialect.pictures else "file": file}}
        return HTTP.post(f"{self.url}/v1{dialect.path}", headers=self.headers(key_id), **sent)

    def post_at_once(self, count: int, key_id: str, **body: Any) -> list[httpx.Response]:
        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(lambda _: self.post(key_id, **body), range(count)))

    def client(self, key_id: str) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=self.url + "/v1", api_key=self.credential(key_id), max_retries=0, http_client=HTTP
        )

    def complete(self, key_id: str, *, stream: bool) -> None:
        """A chat completion from beginning to end."""
        assert self.post(key_id, stream=stream).status_code == 200

    def records(self, key_id: str, count: int) -> list[Row]:
        """The rows of a key in the ledger, oldest first, once there are `count`. One more would be one too many."""
        until(lambda: len(self._rows(key_id)) >= count, f"{count} records of {key_id} ({self.log()[-3000:]})")
        rows = self._rows(key_id)
        assert len(rows) == count, [dict(row) for row in rows]
        return rows

    def book(self) -> list[Row]:
        """All rows."""
        return self._rows(None)

    def _rows(self, key_id: str | None) -> list[Row]:
        with closing(sqlite3.connect(self.folder / "usage.db", timeout=30)) as books:
            books.row_factory = Row
            try:
                where = "" if key_id is None else "where key_id = :key"
                return books.execute(f"select * from usage {where} order by started_at", {"key": key_id}).fetchall()
            except sqlite3.OperationalError:  # no record has come yet, so there is no table
                return []

    def counted(self) -> Counter[str]:
        """The counters, summed over their labels; requests without a good key are left out, as in the ledger."""
        totals: Counter[str] = Counter()
        for name, labels, value in self._samples():
            if labels.get("error_type") != "unauthenticated":
                totals[name.removeprefix("crplugins_")] += value
        return totals

    def _samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        answer = HTTP.get(self.url + METRICS_PATH, follow_redirects=True)
        assert answer.status_code == 200, answer.text
        for family in text_string_to_metric_families(answer.text):
            yield from ((sample.name, sample.labels, sample.value) for sample in family.samples)

    def wait_for_provider(self) -> None:
        """Until the provider has nothing more to do."""
        self.stage.run(self.provider.wait_idle())


def every_request_has_ended(home: Home) -> None:
    """Exactly once in each plugin that it has entered, whatever has become of it in the tests of this home."""
    until(
        lambda: not unfinished(home.folder), f"the end of {unfinished(home.folder)} ({home.log()[-3000:]})", within=20
    )
