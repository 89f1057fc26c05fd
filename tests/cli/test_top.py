"""`crplugins top`: figures of a running gateway, in a terminal."""

import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from rich.console import Console

from crplugins.cli.top.figures import Figures, TopScrape, figures, quantile
from crplugins.cli.top.show import as_json, frame
from tests.warm import INSTALLED

CONFIGURATION = """
model_list:
  - model_name: echo
    litellm_params: {model: openai/echo, api_base: "PROVIDER", api_key: sk-up}
    model_info: {input_cost_per_token: 1.0e-3, output_cost_per_token: 1.0e-3}
keys:
  - {id: big, secret: sk-big-0123456789}
  - {id: small, secret: sk-small-0123456789}
metrics: {token: scrape-me}
server: {port: PORT}
"""

SCRAPED = """
# TYPE crplugins_build_info gauge
crplugins_build_info{version="1.2.3",python="3.11",litellm=""} 1
process_start_time_seconds 1000
crplugins_requests_in_flight 3
crplugins_requests_total{model="a",key_id="k1",code="200",error_type=""} 100
crplugins_requests_total{model="a",key_id="k2",code="429",error_type="rate_limited"} 8
crplugins_requests_total{model="b",key_id="k2",code="502",error_type="upstream_5xx"} 2
crplugins_requests_total{model="b",key_id="idle",code="200",error_type=""} 0
crplugins_input_tokens_total{model="a",key_id="k1"} 1000
crplugins_output_tokens_total{model="a",key_id="k1"} 500
crplugins_cost_usd_total{model="a",key_id="k1"} 1.5
crplugins_cost_usd_total{model="b",key_id="k2"} 2.5
crplugins_time_to_first_token_seconds_bucket{model="a",le="0.5"} 50
crplugins_time_to_first_token_seconds_bucket{model="a",le="1.0"} 100
crplugins_time_to_first_token_seconds_bucket{model="a",le="+Inf"} 100
crplugins_limit_utilization_ratio{key_id="k1",limit="requests_per_minute"} 0.2
crplugins_limit_utilization_ratio{key_id="k2",limit="tokens_per_minute"} 0.95
crplugins_budget_limit_usd{key_id="k1"} 10
crplugins_budget_spent_usd{key_id="k1"} 7.5
crplugins_budget_limit_usd{key_id="k2"} 5
crplugins_budget_spent_usd{key_id="k2"} 4.9
"""


def scrape(at: float, text: str = SCRAPED) -> TopScrape:
    return TopScrape.of(at, text)


def after(**grown: float) -> str:
    """The same gateway later: the first series of each metric has grown."""
    text = SCRAPED
    for name, more in grown.items():
        pattern = re.compile(rf"^(crplugins_{name}\{{.*?\}}) (\S+)$", re.MULTILINE)
        text = pattern.sub(lambda found, more=more: f"{found[1]} {float(found[2]) + more}", text, count=1)
    return text


def test_rates_are_of_the_time_between_two_scrapes():
    later = after(requests_total=20, output_tokens_total=300, input_tokens_total=100)
    found = figures(scrape(10.0), scrape(12.0, later), 4600.0)
    assert (found.total.requests, found.total.requests_per_second) == (130, 10.0)
    assert (found.total.input_tokens_per_second, found.total.output_tokens_per_second) == (50.0, 150.0)
    assert (found.total.errors, found.total.refused, found.in_flight) == (2, 8, 3)
    assert (found.version, found.uptime_seconds) == ("1.2.3", 3600.0)


def test_after_a_restart_rates_count_from_zero():
    before = scrape(0.0, after(requests_total=900))
    found = figures(before, scrape(10.0), 0.0)
    assert found.total.requests_per_second == pytest.approx(11.0)
    assert found.uptime_seconds == 0.0


def test_keys_are_in_the_order_of_their_spend_and_models_of_their_requests():
    found = figures(scrape(0.0), scrape(1.0), 0.0)
    assert [(key.name, key.cost_usd) for key in found.keys] == [("k2", 2.5), ("k1", 1.5)]
    assert [model.name for model in found.models] == ["a", "b"]
    assert [(use.key_id, use.used) for use in found.limits] == [("k2", 0.95), ("k1", 0.2)]
    assert [(use.key_id, use.spent_usd, use.budget_usd) for use in found.budgets] == [
        ("k2", 4.9, 5.0),
        ("k1", 7.5, 10.0),
    ]


def test_the_time_to_first_token_is_that_of_the_interval_or_of_all_where_it_had_none():
    idle = figures(scrape(0.0), scrape(1.0), 0.0)
    assert (idle.total.ttft_p50, idle.total.ttft_p95) == (0.5, pytest.approx(0.95))
    later = SCRAPED.replace('le="1.0"} 100', 'le="1.0"} 110').replace('le="+Inf"} 100', 'le="+Inf"} 110')
    busy = figures(scrape(0.0), scrape(1.0, later), 0.0)
    assert busy.total.ttft_p50 == pytest.approx(0.75)
    assert busy.models[1].ttft_p95 is None


@pytest.mark.parametrize(
    ("q", "buckets", "expected"),
    [
        (0.5, [], None),
        (0.5, [(1.0, 0.0), (float("inf"), 0.0)], None),
        (0.5, [(1.0, 10.0), (2.0, 10.0), (float("inf"), 10.0)], 0.5),
        (0.75, [(1.0, 5.0), (2.0, 10.0), (float("inf"), 10.0)], 1.5),
        (0.99, [(1.0, 5.0), (2.0, 5.0), (float("inf"), 10.0)], 2.0),
    ],
)
def test_a_quantile_is_what_prometheus_makes_of_the_buckets(q, buckets, expected):
    assert quantile(q, buckets) == expected


def test_a_frame_shows_trouble_first_and_the_rest_of_long_lists_as_a_number():
    keys = "".join(
        f'crplugins_requests_total{{model="a",key_id="x{n}",code="200",error_type=""}} 1\n' for n in range(20)
    )
    trouble = (
        "crplugins_ledger_spooled_records 12\ncrplugins_ledger_dropped_records_total 3\ncrplugins_limit_store_outage 1\n"
        'crplugins_hook_errors_total{plugin="Redact",hook="on_event"} 4\n'
    )
    text = shown(scrape(1.0, SCRAPED + keys + trouble))
    assert "12 usage records wait on disk" in text
    assert "3 usage records are lost" in text
    assert "limits are decided without their store" in text
    assert "Redact.on_event has failed 4 times" in text
    assert "and 12 more" in text
    assert "idle" not in text


def test_a_name_from_elsewhere_does_not_reach_the_terminal_as_it_is():
    text = shown(
        scrape(1.0, SCRAPED + 'crplugins_requests_total{model="\x1b[2J",key_id="k",code="200",error_type=""} 1\n')
    )
    assert "\x1b" not in text
    assert "\\x1b[2J" in text


def test_figures_of_a_gateway_without_any_request():
    empty = scrape(0.0, 'crplugins_build_info{version="1",python="3",litellm=""} 1\n')
    found = figures(empty, empty, 0.0)
    assert json.loads(as_json(found))["total"]["requests"] == 0
    assert "requests 0 (0.0/s)" in shown(empty)


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_cuts_no_figure_off(width):
    console = Console(file=io.StringIO(), width=width)
    console.print(frame(figures(scrape(0.0), scrape(0.0), 2000.0), "http://gw", width=width))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "\u2026" not in text
    for figure in ("requests 110", "TTFT 500 ms p50, 950 ms p95", "$1.50", "100.0%", "requests_per_minute"):
        assert figure in text


def printed(found: Figures) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(frame(found, "http://gw"))
    return console.file.getvalue()


def shown(one: TopScrape) -> str:
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(frame(figures(one, one, 0.0), "http://gw"))
    return console.export_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("top")


@pytest.fixture(scope="module")
def gateway(serve, folder, provider):
    """Has answered four requests, three of them for one key. Its port is in the configuration."""
    configuration = CONFIGURATION.replace("PROVIDER", provider)
    (folder / "gateway.yaml").write_text(configuration.replace("PORT", "0"))
    with serve(cwd=folder) as gateway:
        (folder / "gateway.yaml").write_text(configuration.replace("PORT", str(gateway.port)))
        for key in ("big", "big", "big", "small"):
            client = gateway.client(f"sk-{key}-0123456789")
            for _ in client.chat.completions.create(
                model="echo", messages=[{"role": "user", "content": "Hello, how are you?"}], stream=True
            ):
                pass
        yield gateway


def test_once_prints_one_frame_of_the_configured_gateway(run, gateway, folder):
    done = run("top", "--once", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"http://127.0.0.1:{gateway.port}/metrics" in done.stdout
    assert re.search(r"requests 4 \(", done.stdout)
    assert re.search(r"TTFT \d+ ms p50", done.stdout)
    assert "tokens/s" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    spend = {line[0]: line[1] for line in lines if line and line[0] in ("big", "small")}
    assert list(spend) == ["big", "small"]
    assert all(amount.startswith("$0.") for amount in spend.values())


def test_json_is_alone_on_stdout(run, gateway, folder):
    found = json.loads(run("top", "--json", cwd=folder).stdout)
    assert found["total"]["requests"] == 4
    assert [(key["name"], key["requests"]) for key in found["keys"]] == [("big", 3), ("small", 1)]
    assert found["keys"][0]["cost_usd"] > found["keys"][1]["cost_usd"] > 0
    assert found["models"][0]["ttft_p50"] > 0


def test_a_gateway_is_named_with_its_token(run, gateway):
    done = run("top", "--once", "--url", gateway.url, "--token", "scrape-me")
    assert "requests 4" in done.stdout
    assert run("top", "--once", "--url", f"{gateway.url}/metrics", "--token", "scrape-me").stdout


@pytest.mark.parametrize("end", ["Ctrl-C", "q"])
def test_it_goes_on_in_a_terminal_until_somebody_ends_it(end, gateway, folder, environ):
    ours, theirs = pty.openpty()
    command = [INSTALLED, "top", "--interval", "0.2"]
    terminal = environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    heeds_ctrl_c = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a background job is started deaf to it
    with subprocess.Popen(
        command, cwd=folder, env=terminal, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=heeds_ctrl_c
    ) as process:
        os.close(theirs)
        text = ""
        try:
            while text.count("in flight") < 3:
                text += os.read(ours, 65536).decode(errors="replace")
            if end == "q":
                os.write(ours, b"xq")
            else:
                process.send_signal(signal.SIGINT)
            _drain(ours)
            assert process.wait(10) == 0
        finally:
            process.kill()
            os.close(ours)
    assert "Traceback" not in text


def _drain(terminal: int) -> None:
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # the other end is closed
        pass


@pytest.mark.parametrize("token", ["wrong", ""])
def test_a_wrong_token_is_one_sentence(run, gateway, token):
    done = run("top", "--once", "--url", gateway.url, "--token", token)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"{gateway.url}/metrics needs the metrics token: pass --token, or the configuration of the gateway\n"
    )


def test_no_gateway_is_one_sentence(run):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        done = run("top", "--once", "--url", url, "--token", "x")
    assert (done.returncode, done.stderr) == (1, f"no gateway answers at {url}/metrics: Connection refused\n")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"<html>", "is not in Prometheus's format"),
        (b"python_info 1\n", "has no metrics of crplugins"),
        (None, "answers 302; the path of metrics is in the configuration"),
    ],
)
def test_something_else_behind_the_address_is_one_sentence(run, answer, sentence):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302 if answer is None else 200)
            self.send_header("location", "http://127.0.0.1:9/")
            self.end_headers()
            self.wfile.write(answer or b"")

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        done = run("top", "--once", "--url", url, "--token", "x")
        server.shutdown()
    assert done.returncode == 1
    assert sentence in done.stderr


def test_a_configuration_without_metrics_is_a_mistake_in_it(run, tmp_path):
    (tmp_path / "gateway.yaml").write_text("keys: [{id: a, secret: sk-a-0123456789}]\n")
    done = run("top", "--once", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no metrics" in done.stderr


def test_a_configuration_with_any_free_port_does_not_say_where(run, tmp_path):
    (tmp_path / "gateway.yaml").write_text("metrics: {token: null}\nserver: {port: 0}\n")
    done = run("top", "--once", cwd=tmp_path)
    assert done.returncode == 2
    assert "name the gateway with --url" in done.stderr


@pytest.mark.parametrize("url", ["gateway:4000", "ftp://gateway", "http://", "http://gateway:port"])
def test_what_is_no_address_is_a_usage_error(run, url):
    done = run("top", "--once", "--url", url)
    assert done.returncode == 2
    assert "an address such as" in done.stderr


ROOM = """
crplugins_max_in_flight_requests 200
crplugins_shed_requests_total{priority="low"} 7
crplugins_shed_requests_total{priority="high"} 0
crplugins_queue_waiting_requests{scope="key"} 2
crplugins_queue_waiting_requests{scope="deployment"} 1
crplugins_queue_waiting_requests{scope="model"} 0
"""
DEPLOYMENTS = """
crplugins_deployments{model="a",deployment="openai/a at one",state="healthy"} 2
crplugins_deployments{model="a",deployment="openai/a at one",state="cooling"} 0
crplugins_deployments{model="a",deployment="openai/a at one",state="trial"} 0
crplugins_deployments{model="a",deployment="openai/a at two",state="healthy"} 1
crplugins_deployments{model="a",deployment="openai/a at two",state="cooling"} 0
crplugins_deployments{model="a",deployment="openai/a at two",state="trial"} 1
crplugins_deployment_cooldowns_total{model="a",deployment="openai/a at two"} 3
crplugins_deployment_requests_in_flight{model="a",deployment="openai/a at one"} 4
"""


def test_the_room_and_what_was_refused_for_it_stand_beside_what_is_in_flight():
    found = figures(scrape(10.0, SCRAPED + ROOM), scrape(12.0, SCRAPED + ROOM.replace(" 7", " 9")), 4600.0)
    assert (found.in_flight, found.max_in_flight, found.shed) == (3, 200, 9)
    assert found.trouble == ["2 requests were refused just now because server.max_in_flight is reached"]
    assert found.waiting == {"key": 2, "deployment": 1}
    assert "in flight 3 of 200, 9 shed, waiting 3 (key 2, deployment 1)" in printed(found)
    without = figures(scrape(10.0), scrape(12.0), 4600.0)
    assert (without.max_in_flight, without.shed) == (None, 0)


def test_deployments_are_shown_with_the_one_that_is_left_out_first():
    text = SCRAPED + DEPLOYMENTS
    found = figures(scrape(10.0, text), scrape(12.0, text), 4600.0)
    assert [
        (use.deployment, use.healthy, use.cooling, use.trial, use.cooldowns, use.in_flight) for use in found.deployments
    ] == [
        ("openai/a at two", 1, 0, 1, 3, 0),
        ("openai/a at one", 2, 0, 0, 0, 4),
    ]
    lines = [" ".join(line.split()) for line in printed(found).splitlines()]
    assert "a openai/a at two 1 healthy, 1 trial 0 3" in lines
    assert "a openai/a at one healthy 4 0" in lines
    assert json.loads(as_json(found))["deployments"][0]["trial"] == 1
