"""MetricsPush: sends over OTLP what a scrape would show, every so often and once more at the end.

Only one of the processes that share their metrics does, as each shows the sum of all: the one that has locked a file
beside theirs. So every series goes out once, under one `service.instance.id`, whichever process sends it.
"""

import asyncio
import fcntl
import json
import logging
import os
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from crplugins import __version__
from crplugins.config.metering import OtlpSection
from crplugins.core.daemon_thread import in_daemon_thread
from crplugins.core.plugin import Plugin
from crplugins.core.shared import Shared
from crplugins.core.waiting import stopped
from crplugins.homes.metrics import Scraper
from crplugins.plugins.metrics.directory import shared_directory
from crplugins.plugins.metrics.otlp import MetricsSource, messages
from crplugins.settings.errors import error_line

try:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import MetricExportResult
    from opentelemetry.sdk.resources import (
        SERVICE_INSTANCE_ID,
        SERVICE_NAME,
        SERVICE_VERSION,
        OTELResourceDetector,
        Resource,
    )
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
except ImportError as error:
    raise ImportError(
        "metrics.otlp needs OpenTelemetry's SDK and exporter; install them with: pip install 'crplugins[otlp]'"
    ) from error

INTERVAL_SECONDS: Final = 60.0
CLOSING_SECONDS: Final = 3.0
"""How long the end of a process waits for the last push."""

_TURN_SECONDS: Final = 0.5
"""How long it waits for another process, which is ending too, to have sent its last."""

_LONGEST_REASON: Final = 300
_SCOPE: Final = InstrumentationScope("crplugins", __version__)

logger = logging.getLogger("crplugins.metrics")


class Instance(NamedTuple):
    """Who counts, and since when, in nanoseconds since 1970."""

    id: str
    started: int


class PushTurn:
    """Which of the processes that share their metrics sends them: the one that has locked a file in their folder.

    All of them are one instance, which that file names. A process that counts alone always has its turn, and is one by
    itself.
    """

    def __init__(self, directory: Path | None, alone: Instance) -> None:
        self._file = None if directory is None else directory / "otlp"
        self._alone = alone
        self._held: tuple[int, Instance] | None = None

    @property
    def shared(self) -> bool:
        return self._file is not None

    def take(self) -> Instance | None:
        """Who is sent for; None where another process does it. Blocks a little. Raises OSError."""
        if self._file is None:
            return self._alone
        if self._held is None:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._held = descriptor, _instance_in(descriptor, self._alone)
            except BlockingIOError:
                os.close(descriptor)
                return None
        return self._held[1]

    def leave(self) -> None:
        if self._held is not None:
            os.close(self._held[0])
            self._held = None


def _instance_in(descriptor: int, new: Instance) -> Instance:
    """That of the first process that had its turn."""
    with suppress(ValueError, TypeError):
        return Instance(**json.loads(os.pread(descriptor, 1000, 0)))
    os.pwrite(descriptor, json.dumps(new._asdict()).encode(), 0)
    return new


class _Heard(logging.Filter):
    """Keeps what the exporter would log of one export: it logs each retry, and an outage is one line of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ""
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread:
            return True
        self.first = self.first or record.getMessage()
        return False


class MetricsPush(Shared, Plugin):
    """A plugin without hooks, which is open while those are whose numbers it sends: nearly innermost.

    A receiver that is away costs a line of the log when that begins and one when it ends, and is counted.

    Args:
        scraper: what is sent.
        section: where to and how often; what it does not say the environment does, in the variables of OpenTelemetry.
        previous: what has sent the same metrics by an earlier configuration.
    """

    def __init__(self, scraper: Scraper, section: OtlpSection, previous: "MetricsPush | None" = None) -> None:
        alone = Instance(str(uuid.uuid4()), scraper.metrics.since)
        self._instance: Final[Instance] = alone if previous is None else previous._instance
        self._scraper = scraper
        self._section = section
        self._turn = PushTurn(shared_directory(), self._instance)
        self._interval = _interval(section)
        self._exporter = self._made(None)
        self._pushing: asyncio.Task[None] | None = None
        self._failing = False

    async def open(self) -> None:
        for variable in ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
            if (protocol := os.environ.get(variable, "http/protobuf")) != "http/protobuf":
                logger.warning("%s=%s is ignored: metrics are pushed as http/protobuf", variable, protocol)
                break
        self._pushing = asyncio.create_task(self._push_every(), name="crplugins: metrics over OTLP")

    async def close(self) -> None:
        assert self._pushing is not None, "it was opened"
        await stopped(self._pushing)
        self._exporter.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._push(self._made(CLOSING_SECONDS), wait=_TURN_SECONDS)
        self._turn.leave()

    async def _push_every(self) -> None:
        while True:
            began = time.monotonic()
            await self._push(self._exporter)
            await asyncio.sleep(max(0.0, began + self._interval - time.monotonic()))

    async def _push(self, exporter: OTLPMetricExporter, *, wait: float = 0.0) -> None:
        """Everything once, if it is the turn of this process, or becomes so within `wait` seconds."""
        give_up = time.monotonic() + wait
        try:
            while (instance := await asyncio.to_thread(self._turn.take)) is None:
                if time.monotonic() >= give_up:
                    return
                await asyncio.sleep(0.05)
            await self._scraper.refresh()
            failure = await in_daemon_thread(self._send, exporter, instance)
        except Exception as error:  # a folder that is gone, a collector of somebody else's
            failure = error_line(error)
        self._scraper.metrics.note_push(delivered=failure is None)
        if failure is not None and not self._failing:
            logger.error(
                "metrics cannot be pushed to %s, and are tried again every %g s: %s", self, self._interval, failure
            )
        elif failure is None and self._failing:
            logger.warning("metrics can be pushed to %s again", self)
        self._failing = failure is not None

    def _send(self, exporter: OTLPMetricExporter, instance: Instance) -> str | None:
        """What has gone wrong. Blocks, for the exporter's timeout at most."""
        source = MetricsSource(
            self._resource(instance), InstrumentationScope("crplugins", __version__), instance.started
        )
        heard, log = _Heard(), logging.getLogger(OTLPMetricExporter.__module__)
        log.addFilter(heard)
        try:
            for message in messages(self._scraper.metrics.exposed().collect(), source, time.time_ns()):
                if exporter.export(message) is not MetricExportResult.SUCCESS:
                    return heard.first[:_LONGEST_REASON] or "no reason is given"
        finally:
            log.removeFilter(heard)
        return None

    def _resource(self, instance: Instance) -> Resource:
        """That of the spans of this process, if it has an SDK for them, else what the environment says."""
        provider = trace.get_tracer_provider()
        resource = provider.resource if isinstance(provider, TracerProvider) else Resource.create()
        own: dict[str, str] = {}
        if str(resource.attributes.get(SERVICE_NAME)).startswith("unknown_service"):
            own = {SERVICE_NAME: "crplugins", SERVICE_VERSION: __version__}
        told = OTELResourceDetector().detect().attributes if self._turn.shared else resource.attributes
        if SERVICE_INSTANCE_ID not in told:  # else it is a random one of this process alone
            own[SERVICE_INSTANCE_ID] = instance.id
        return resource.merge(Resource(own))

    def _made(self, timeout: float | None) -> OTLPMetricExporter:
        endpoint = self._section.endpoint
        return OTLPMetricExporter(
            endpoint=None if endpoint is None else f"{endpoint.rstrip('/')}/v1/metrics", timeout=timeout
        )

    def __str__(self) -> str:
        """Where to, without what may be a secret in it."""
        told = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        url = self._section.endpoint or next(filter(None, map(os.environ.get, told)), "http://localhost:4318")
        return urlsplit(url).netloc.rpartition("@")[2]


def _interval(section: OtlpSection) -> float:
    """Seconds."""
    if section.interval_seconds is not None:
        return section.interval_seconds
    told = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    with suppress(ValueError):
        if (milliseconds := float(told or 1000 * INTERVAL_SECONDS)) >= 1:
            return milliseconds / 1000
    logger.warning("OTEL_METRIC_EXPORT_INTERVAL=%s is no number of milliseconds, and is ignored", told)
    return INTERVAL_SECONDS
