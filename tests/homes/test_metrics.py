"""MetricsApp as a scraper meets it."""

import asyncio
import gzip
import json
import time
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from crplugins.homes.metrics import MetricsApp, Scraper
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.testing import Answer, Drive, drive
from tests.plugins.metrics.setup import SAMPLED, finished, run

TOKEN = "scrape-token-0123456789"
BEARER = {"authorization": f"Bearer {TOKEN}"}
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5"


def made(**options: Any) -> Metrics:
    """One sampled request, counted."""
    metrics = Metrics(["m"], ["team-a"], **options)
    run(metrics, finished(headers=[(b"traceparent", SAMPLED)]))
    return metrics


async def scrape(app: MetricsApp, method: str = "GET", path: str = "/metrics", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await drive(app, method, path, headers=named, forbid_body=True)


def error_of(answer: Answer) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/json"
    error: dict[str, Any] = json.loads(answer.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def test_a_scrape_shows_everything_as_text():
    answer = await scrape(MetricsApp(Scraper(made(), token=None)))
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["vary"] == "accept, accept-encoding"
    families = {family.name: family for family in parse_text(answer.body.decode())}
    assert {"crplugins_requests", "process_cpu_seconds", "python_info"} <= set(families)
    assert not [name for name in families if name.endswith("_created")]


async def test_a_scraper_that_prefers_openmetrics_gets_it_with_exemplars():
    answer = await scrape(MetricsApp(Scraper(made(), token=None)), accept=OPENMETRICS)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in parse_openmetrics(answer.body.decode())}
    samples = families["crplugins_time_to_first_token_seconds"].samples
    (exemplar,) = [sample.exemplar for sample in samples if sample.exemplar]
    assert exemplar.labels == {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text; version=x", "text/plain; version=a.b", "\xff;;,,", "*/*"]
)
async def test_an_accept_header_that_makes_no_sense_is_answered_with_text(accept):
    answer = await scrape(MetricsApp(Scraper(made(), token=None)), accept=accept)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("accepted", ["gzip", "deflate, GZIP;q=0.5", "br,gzip; q=1.0"])
async def test_a_scraper_that_takes_gzip_gets_it(accepted):
    metrics = made(registry=CollectorRegistry())
    answer = await scrape(MetricsApp(Scraper(metrics, token=None)), accept_encoding=accepted)
    plain = await scrape(MetricsApp(Scraper(metrics, token=None)))
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert gzip.decompress(answer.body) == plain.body


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "gzip; q=0.0", "xgzip"])
async def test_no_other_scraper_does(accepted):
    answer = await scrape(MetricsApp(Scraper(made(), token=None)), accept_encoding=accepted)
    assert "content-encoding" not in answer.headers


async def test_only_the_samples_asked_for_are_shown():
    path = "/metrics?name[]=crplugins_requests_total&name%5B%5D=process_open_fds"
    answer = await scrape(MetricsApp(Scraper(made(), token=None)), path=path)
    names = {sample.name for family in parse_text(answer.body.decode()) for sample in family.samples}
    assert names == {"crplugins_requests_total", "process_open_fds"}


async def test_head_is_get_without_the_body():
    app = MetricsApp(Scraper(made(registry=CollectorRegistry()), token=None))
    head, get = await scrape(app, "HEAD"), await scrape(app)
    assert head.body == b""
    assert head.headers == get.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused(method):
    answer = await scrape(MetricsApp(Scraper(made(), token=None)), method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert method in error_of(answer)["message"]


async def test_the_token_opens_it():
    app = MetricsApp(Scraper(made(), token=TOKEN))
    for authorization in (f"Bearer {TOKEN}", f"bearer  {TOKEN} "):
        assert (await scrape(app, authorization=authorization)).status == 200


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer  ", f"Basic {TOKEN}", TOKEN])
async def test_without_a_token_it_is_closed(authorization):
    answer = await scrape(MetricsApp(Scraper(made(), token=TOKEN)), authorization=authorization)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert error_of(answer)["code"] is None
    assert b"crplugins" not in answer.body


@pytest.mark.parametrize("wrong", [TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\xff"])
async def test_a_wrong_token_is_refused(wrong):
    answer = await scrape(MetricsApp(Scraper(made(), token=TOKEN)), authorization=f"Bearer {wrong}")
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert error_of(answer)["code"] == "invalid_api_key"
    assert TOKEN not in answer.body.decode()


def test_an_empty_token_is_a_mistake():
    with pytest.raises(ValueError, match="must not be empty"):
        MetricsApp(Scraper(made(), token=""))


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_other_kinds_of_connection_are_left_alone(kind):
    async def never(*_: object) -> Any:
        raise AssertionError

    await MetricsApp(Scraper(made(), token=TOKEN))({"type": kind}, never, never)


class Slow:
    """A collector that counts its readings and is released by the test."""

    def __init__(self) -> None:
        self.started, self.release, self.readings = asyncio.Event(), asyncio.Event(), 0

    def open(self) -> "Slow":
        self._loop = asyncio.get_running_loop()
        return self

    def collect(self):
        self.readings += 1
        self._loop.call_soon_threadsafe(self.started.set)
        asyncio.run_coroutine_threadsafe(self.release.wait(), self._loop).result(5)
        return []


async def test_scrapes_at_the_same_time_share_one_rendering():
    metrics, slow = made(), Slow().open()
    metrics.add_collector(slow)
    app = MetricsApp(Scraper(metrics, token=None))
    scrapes = [asyncio.create_task(scrape(app)) for _ in range(5)]
    await slow.started.wait()
    slow.release.set()
    answers = await asyncio.gather(*scrapes)
    assert slow.readings == 1
    assert len({answer.body for answer in answers}) == 1
    await scrape(app)
    assert slow.readings == 2


async def test_a_scraper_that_gives_up_takes_nobody_elses_answer_with_it():
    metrics, slow = made(), Slow().open()
    metrics.add_collector(slow)
    app = MetricsApp(Scraper(metrics, token=None))
    async with Drive(app, "GET", "/metrics") as first:
        await slow.started.wait()
        second = asyncio.create_task(scrape(app))
        await asyncio.sleep(0)
        first.cancel()
        slow.release.set()
        assert (await second).status == 200
    assert slow.readings == 1


async def test_a_collector_that_fails_is_an_error_in_our_words(caplog):
    class Broken:
        def collect(self):
            raise RuntimeError("secret of the collector")

    metrics = made()
    metrics.add_collector(Broken())
    answer = await scrape(MetricsApp(Scraper(metrics, token=None)))
    assert answer.status == 500
    assert "secret" not in error_of(answer)["message"]
    assert "secret of the collector" in caplog.text


async def test_it_is_served_on_a_real_socket(serve):
    async with serve(MetricsApp(Scraper(made(), token=TOKEN))) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/metrics", headers=BEARER) as response:
            assert response.status == 200
            assert "crplugins_requests_total" in await response.text()
        async with session.get(f"{url}/metrics") as response:
            assert response.status == 401


async def longest_lag(work: "asyncio.Task[Any]") -> float:
    """By how much the event loop came late, at most, while `work` ran; of all the time that `work` took."""
    worst, began = 0.0, time.perf_counter()
    while not work.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        worst = max(worst, time.perf_counter() - before - 0.001)
    await work
    return worst / (time.perf_counter() - began)


async def test_a_scrape_of_thousands_of_children_does_not_hold_up_the_event_loop():
    metrics = Metrics([f"model-{number}" for number in range(260)], [f"key-{number}" for number in range(10)])
    app = MetricsApp(Scraper(metrics, token=None))
    assert (await scrape(app)).body.count(b"\n") > 40_000  # 2,000 counters and as many histograms of 15 buckets
    for _ in range(5):  # because other programs run here too
        lag = await longest_lag(asyncio.create_task(scrape(app, accept_encoding="gzip")))
        if lag < 0.5:  # 1 on the event loop
            return
    pytest.fail(f"the event loop came late by {lag:.2f} of the time that a scrape takes")
