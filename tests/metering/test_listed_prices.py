"""The list of prices that counts: the installed one, or one's own, read again while the gateway runs."""

import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from crplugins.metering import listed_prices
from crplugins.metering.listed_prices import ListedPrices, NoPriceList, installed_prices, installed_source
from crplugins.metering.price_table import PriceTable, prices_for


def document(**models):
    """A list with these prices of a token of input, in millionths of a dollar."""
    entries = {
        name: {"input_cost_per_token": usd / 1e6, "output_cost_per_token": usd / 1e6} for name, usd in models.items()
    }
    return json.dumps(entries).encode()


def input_price(listed, model):
    found = listed().find(model)
    return None if found is None else found.input / 1e6


def write(file, text):
    """In its place at once, as an editor or a mounted ConfigMap does it."""
    new = file.with_suffix(".new")
    new.write_bytes(text)
    new.replace(file)


@contextmanager
def server(answer):
    """The address of a server of which `answer(handler)` writes each answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://user:secret@127.0.0.1:{running.server_port}/prices.json"
        finally:
            running.shutdown()
            thread.join()


def send(handler, body, status=200, **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_without_a_list_of_ones_own_that_of_the_installed_litellm_counts():
    listed = ListedPrices()
    assert listed() is installed_prices() is listed()
    assert isinstance(listed(), PriceTable)
    assert listed.source == installed_source()
    assert listed.source.startswith("the table of litellm 1.")
    assert listed.refresh_seconds is None


@pytest.mark.parametrize(
    ("missing", "source"),
    [
        ({"litellm"}, "the list of genai-prices 0."),
        ({"litellm", "genai_prices"}, "no list, as neither litellm nor genai-prices is installed"),
    ],
)
def test_it_says_which_other_list_counts_without_litellm(monkeypatch, missing, source):
    monkeypatch.setattr(listed_prices, "find_spec", lambda name: None if name in missing else object())
    assert installed_source.__wrapped__().startswith(source)


def test_a_file_takes_the_place_of_the_installed_list_and_is_read_again_when_it_has_changed(tmp_path):
    file = tmp_path / "prices.json"
    file.write_bytes(document(mine=1, other=1))
    listed = ListedPrices(file=str(file))
    assert (input_price(listed, "mine"), input_price(listed, "gpt-4o")) == (1, None)
    assert listed.source.startswith("the list of prices.file, read at 20")
    assert listed.refresh() is False
    write(file, document(mine=2, other=1))
    assert listed.refresh() is True
    assert input_price(listed, "mine") == 2


def test_prices_that_were_looked_up_before_follow_a_new_list(tmp_path):
    file = tmp_path / "prices.json"
    file.write_bytes(document(mine=1))
    listed = ListedPrices(file=str(file))
    find = prices_for({}, listed, watch=listed.watch)
    assert find("mine").input == 1_000_000
    write(file, document(mine=3))
    listed.refresh()
    assert find("mine").input == 3_000_000


GOOD = document(**{f"m{number}": 1 for number in range(10)})


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "it is no JSON object of models"),
        (b"[]", "it is no JSON object of models"),
        (GOOD[:-40], "it is no JSON object of models"),
        (b"<html>Sign in</html>", "it is no JSON object of models"),
        (b"\xff\xfe", "it is no JSON object of models"),
        (b"{}", "it has no price of a token"),
        (b'{"m1": {"mode": "chat"}}', "it has no price of a token"),
        (b'{"m1": 7, "m2": null}', "it has no price of a token"),
        (document(m1=1, m2=1, m3=1, m4=1), "it has 4 prices, of 10 before: less than half"),
        (b" " * (listed_prices.MAX_BYTES + 1), f"it is longer than {listed_prices.MAX_BYTES} bytes"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_the_last_good_list_goes_on_to_count_behind_one_that_is_none(tmp_path, bad, reason):
    file = tmp_path / "prices.json"
    file.write_bytes(GOOD)
    listed = ListedPrices(file=str(file))
    before = listed()
    write(file, bad)
    with pytest.raises(NoPriceList, match=reason):
        listed.refresh()
    assert listed() is before
    assert listed.source.endswith(f"; prices.file cannot be read: {reason}")
    write(file, GOOD)
    listed.refresh()
    assert "cannot" not in listed.source


def test_a_file_that_never_could_be_read_says_why_and_not_where(tmp_path):
    for file in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(NoPriceList) as raised:
            ListedPrices(file=str(file))()
        assert str(raised.value) in ("No such file or directory", "Is a directory")


def test_a_list_at_an_address_counts_once_it_was_fetched_and_is_not_sent_twice():
    asked = []

    def answer(handler):
        asked.append(handler.headers.get("if-none-match"))
        if handler.headers.get("if-none-match") == '"1"':
            send(handler, b"", 304)
        else:
            send(handler, document(mine=5), etag='"1"')

    with server(answer) as url:
        listed = ListedPrices(url=url)
        assert listed() is installed_prices()
        assert (listed.refresh(), listed.refresh()) == (True, False)
        assert (input_price(listed, "mine"), asked) == (5, [None, '"1"'])
        assert listed.source.startswith("the list of prices.url, read at ")


def _broken(handler):
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(GOOD[:100])


def _endless(handler):
    handler.send_response(200)
    handler.end_headers()
    with pytest.raises(OSError):
        while True:
            handler.wfile.write(b" " * (1 << 20))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda handler: send(handler, b"no", 500), "status 500"),
        (lambda handler: send(handler, b"", 304), "status 304"),
        (lambda handler: send(handler, b"", 302, location="http://127.0.0.1:9/"), "status 302, a redirection, which"),
        (lambda handler: send(handler, b"<html>"), "it is no JSON object of models"),
        (_broken, "it is no JSON object of models"),
        (lambda handler: handler.wfile.write(b"what?\r\n\r\n"), "BadStatusLine"),
        (_endless, "it is longer than"),
    ],
    ids=["500", "304 unasked", "elsewhere", "html", "cut", "no HTTP", "endless"],
)
def test_what_a_server_answers_amiss_is_a_reason_without_its_address(answer, reason):
    with server(answer) as url:
        listed = ListedPrices(url=url)
        with pytest.raises(NoPriceList, match=reason) as raised:
            listed.refresh()
    assert listed() is installed_prices()
    assert "secret" not in str(raised.value) + listed.source
    assert "127.0.0.1" not in str(raised.value) + listed.source
    assert (listed.place.startswith("prices.url http://127.0.0.1:"), "secret" in listed.place) == (True, False)


def test_a_server_that_is_silent_or_slow_is_given_up(monkeypatch):
    monkeypatch.setattr(listed_prices, "_READ_SECONDS", 0.1)
    monkeypatch.setattr(listed_prices, "FETCH_SECONDS", 0.3)
    ended = threading.Event()

    def drips(handler):
        handler.send_response(200)
        handler.end_headers()
        while not ended.wait(0.02):
            try:
                handler.wfile.write(b" ")
            except OSError:
                break

    for answer, reason in ((lambda _: ended.wait(5), "TimeoutError|timed out"), (drips, "it takes longer than 0.3 s")):
        with server(answer) as url:
            try:
                with pytest.raises(NoPriceList, match=reason):
                    ListedPrices(url=url).refresh()
            finally:
                ended.set()
        ended.clear()


def test_a_proxy_that_is_none_is_a_reason(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(NoPriceList, match="HTTPS_PROXY must be an http:// or https:// URL"):
        ListedPrices(url="https://prices.example.com/models.json").refresh()


def test_a_login_in_the_address_is_sent_as_one():
    seen = []

    def answer(handler):
        seen.append((handler.path, handler.headers["authorization"]))
        send(handler, GOOD)

    with server(answer) as url:
        ListedPrices(url=url).refresh()
    assert seen == [("/prices.json", "Basic dXNlcjpzZWNyZXQ=")]


def test_a_server_that_is_away_is_a_reason():
    with server(send) as url:
        pass
    with pytest.raises(NoPriceList):
        ListedPrices(url=url).refresh()


def test_a_file_of_the_same_size_and_time_that_was_replaced_is_another_one(tmp_path):
    file = tmp_path / "prices.json"
    file.write_bytes(document(mine=1))
    listed = ListedPrices(file=str(file))
    listed()
    times = file.stat()
    write(file, document(mine=2))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert listed.refresh() is True
    assert input_price(listed, "mine") == 2
