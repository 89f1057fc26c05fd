"""A receiver of OTLP metrics on a real socket, which decodes what it is sent with OpenTelemetry's own protobuf."""

import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.utils import floatToGoString

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Received:
    """One message. `peer` is the connection that it came over."""

    def __init__(self, path: str, headers: dict[str, str], message: Any, peer: Any = None) -> None:
        self.path, self.headers, self.message, self.peer = path, headers, message, peer

    @property
    def resource(self) -> dict[str, str]:
        (only,) = self.message.resource_metrics
        return {each.key: each.value.string_value for each in only.resource.attributes}

    def metrics(self) -> Iterator[Any]:
        for resource in self.message.resource_metrics:
            for scope in resource.scope_metrics:
                yield from scope.metrics

    def points(self) -> Iterator[tuple[Any, Any]]:
        for metric in self.metrics():
            for point in getattr(metric, metric.WhichOneof("data")).data_points:
                yield metric, point

    def series(self) -> Series:
        """As Prometheus would scrape them."""
        found: Series = {}
        for metric, point in self.points():
            labels = {each.key: each.value.string_value for each in point.attributes}
            if metric.WhichOneof("data") != "histogram":
                found[metric.name, tuple(sorted(labels.items()))] = point.as_double
                continue
            for bound, total in zip(
                (*point.explicit_bounds, float("inf")), accumulate(point.bucket_counts), strict=True
            ):
                le = floatToGoString(bound)  # type: ignore[no-untyped-call]
                found[metric.name + "_bucket", tuple(sorted({**labels, "le": le}.items()))] = total
            found[metric.name + "_sum", tuple(sorted(labels.items()))] = point.sum
            found[metric.name + "_count", tuple(sorted(labels.items()))] = point.count
        return found


class OtlpReceiver:
    """Attributes:
    status: what it answers.
    hold: while it is set, an answer waits.
    """

    def __init__(self) -> None:
        self.status = 200
        self.hold = threading.Event()
        self.messages: list[Received] = []
        self.requests = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> "OtlpReceiver":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.hold.clear()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def last(self) -> Received:
        return self.messages[-1]

    def latest(self) -> Series:
        """Of each series the newest value."""
        found: Series = {}
        for each in list(self.messages):
            found.update(each.series())
        return found


def _handler(receiver: OtlpReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            receiver.requests += 1
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            while receiver.hold.is_set():
                time.sleep(0.05)
            if receiver.status == 200:
                message = ExportMetricsServiceRequest.FromString(body)
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.messages.append(Received(self.path, headers, message, self.client_address))
            self.send_response(receiver.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler
