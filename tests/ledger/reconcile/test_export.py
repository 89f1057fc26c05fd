"""Exports as their providers document them, as spreadsheets save them, and as nobody should have sent them."""

import csv
import io
import json
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crplugins.ledger.reconcile import csv_file, export, json_file
from crplugins.ledger.reconcile.amounts import MEASURES, BookedAmounts, ExportGroup
from crplugins.ledger.reconcile.cells import Unreadable
from crplugins.ledger.reconcile.compare import total_of
from crplugins.ledger.reconcile.export import ReadOptions, Tally, read_export
from crplugins.ledger.reconcile.openai import model_and_tier
from tests.long import times

SAMPLES = Path(__file__).parent / "samples"
JUNE_1, JUNE_2 = date(2026, 6, 1), date(2026, 6, 2)
TABLE = {
    "day": "Date", "model": "Slug", "cost_usd": "Usage", "requests": "Requests", "tokens_in": "Prompt Tokens",
    "tokens_out": "Completion Tokens",
}  # fmt: skip


def sums(found):
    """`{(day of June, model, tier): the measures that the export tells}`."""
    told = [group for group, name in enumerate(MEASURES) if name in found.measures]
    return {
        (group.day.day, group.model, group.tier): tuple(amounts[measure] for measure in told)
        for group, amounts in found.amounts.items()
    }


@pytest.fixture
def read(tmp_path):
    """Reads a text or bytes as an export."""

    def read_text(text, **reading):
        file = tmp_path / "export"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_export(file, ReadOptions(**reading))

    return read_text


def sample(name, **reading):
    return read_export(SAMPLES / name, ReadOptions(**reading))


def test_openai_usage_as_csv():
    found = sample("openai_usage.csv")
    assert (found.layout.name, found.layout.provider) == ("OpenAI usage", "openai")
    assert (found.first, found.last) == (JUNE_1, JUNE_2), "a day without usage is covered too"
    assert found.measures == {"requests", "input_tokens", "cached_input_tokens", "output_tokens"}
    assert sums(found) == {
        (1, "gpt-5-2025-08-07", "default"): (15, 49_510, 20_480, 9_430),
        (1, "gpt-5-2025-08-07", "priority"): (1, 700, 0, 90),
        (1, "gpt-4o-mini-2024-07-18", "batch"): (40, 88_000, 0, 4_000),
    }


def test_openai_usage_as_json():
    found = sample("openai_usage.json")
    assert (found.layout.name, found.first, found.last) == ("OpenAI usage", JUNE_1, JUNE_2)
    assert "cache_write_input_tokens" not in found.measures, "null: the export does not tell"
    assert sums(found) == {
        (1, "gpt-5-2025-08-07", "default"): (12, 48_310, 20_480, 9_120),
        (1, "gpt-5-2025-08-07", "priority"): (1, 700, 0, 90),
        (1, "gpt-4o-mini-2024-07-18", "batch"): (40, 88_000, 0, 4_000),
    }
    assert found.notes == ()


def test_openai_costs_as_csv_add_up_to_the_micro_dollar():
    found = sample("openai_costs.csv")
    assert (found.layout.name, found.measures) == ("OpenAI costs", {"cost_micro_usd"})
    assert sums(found) == {
        (1, "gpt-5-2025-08-07", "default"): (97_239,),  # 97,238.75
        (1, "gpt-4o-mini-2024-07-18", "batch"): (10,),
        (1, "Web search tool calls", "default"): (50_000,),
    }


def test_openai_costs_as_json_say_when_pages_are_missing():
    found = sample("openai_costs.json")
    assert sums(found) == {(1, "gpt-5-2025-08-07", ""): (94_679,), (1, "gpt-image-1", ""): (10,)}
    assert not found.tiers
    assert "more pages" in found.notes[0]


def test_anthropic_usage_as_csv_counts_all_input():
    found = sample("anthropic_usage.csv")
    assert (found.layout.name, found.layout.provider) == ("Anthropic usage", "anthropic")
    assert sums(found) == {  # input, of it cached, of it written; output
        (1, "claude-sonnet-4-20250514", "default"): (277_740, 12_000, 740, 3_000),
        (1, "claude-opus-5", "fast"): (300, 0, 0, 80),
        (2, "claude-sonnet-4-20250514", "batch"): (100, 10, 0, 5),
    }


def test_anthropic_cost_as_csv_is_rounded_to_the_cent():
    found = sample("anthropic_cost.csv")
    assert sums(found) == {
        (1, "Claude Sonnet 4", ""): (850_000,), (1, "Claude 3.5 Sonnet 2024-10-22", ""): (1_230_000,), (1, "web_search", ""): (10_000,)
    }  # fmt: skip
    assert found.rounding[ExportGroup(JUNE_1, "Claude Sonnet 4", "")] == 10_001  # half a cent for each of two lines


def test_anthropic_usage_report_has_its_day_behind_its_results():
    assert sums(sample("anthropic_usage.json")) == {
        (1, "claude-sonnet-4-20250514", "priority"): (17_740, 12_000, 740, 2_100)
    }


def test_anthropic_cost_report_is_in_cents():
    assert sums(sample("anthropic_cost.json")) == {
        (1, "claude-sonnet-4-20250514", "default"): (1_234_568,), (1, "Web Search Usage", "default"): (20_000,)
    }  # fmt: skip


def test_any_table_whose_columns_are_named():
    found = sample("table.csv", columns=TABLE, mark=",")
    assert found.layout.provider is None
    assert sums(found) == {
        (1, "anthropic/claude-opus-4.7", ""): (4_115, 70_965_665, 3_009_973, 430_070_000),
        (2, "anthropic/claude-opus-4.7", ""): (1, 10, 2, 500_000),
    }


def test_a_number_that_could_be_a_thousand_times_as_much_is_not_guessed():
    with pytest.raises(Unreadable, match=r"^line 2, column requests: 4\.115 can be a thousand times as much"):
        sample("table.csv", columns=TABLE)


def test_columns_with_our_own_names_need_no_map(read):
    found = read(
        "Day,Model,Tier,Tokens_In_Uncached,tokens_cached,tokens_cache_write,tokens_out\n2026-06-01,m,flex,5,3,2,9\n"
    )
    assert sums(found) == {(1, "m", "flex"): (10, 3, 2, 9)}


def test_only_some_lines_are_read_if_asked():
    found = sample("openai_usage.csv", only={"api_key_id": "key_two"})
    assert sums(found) == {(1, "gpt-5-2025-08-07", "default"): (3, 1200, 0, 310)}
    assert found.notes == ("left out of the export: 4 by --only",)


def test_days_that_were_not_asked_for_are_left_out():
    found = sample("anthropic_usage.csv", first=JUNE_2, last=date(2026, 6, 5))
    assert [group.day for group in found.amounts] == [JUNE_2]
    assert (found.first, found.last) == (JUNE_2, date(2026, 6, 5))
    assert found.notes == ("left out of the export: 3 of other days",)


@pytest.mark.parametrize(
    ("line_item", "model", "tier"),
    [
        ("gpt-5-2025-08-07, cached input", "gpt-5-2025-08-07", ""),
        ("gpt-5.6-terra, cache writes", "gpt-5.6-terra", ""),
        ("gpt-5, batch input", "gpt-5", "batch"),
        ("gpt-5 priority, output", "gpt-5", "priority"),
        ("gpt-image-2-2026-04-21 image, cached input", "gpt-image-2-2026-04-21", ""),
        ("ft:gpt-4o-mini-2024-07-18:acme::abc, input", "ft:gpt-4o-mini-2024-07-18:acme::abc", ""),
        ("Web search tool calls", "Web search tool calls", ""),
        ("", "", ""),
    ],
)
def test_line_items_name_a_model_and_sometimes_a_tier(line_item, model, tier):
    assert model_and_tier(line_item) == (model, tier)


HEADER = "start_time_iso,num_model_requests,model,input_tokens,output_tokens"
LINE = "2026-06-01T00:00:00+00:00,1,gpt-5,10,2"


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{HEADER}\n{LINE}\n".encode(),
        f"{HEADER}\r\n{LINE}\r\n".encode(),
        f"sep=;\r\n{HEADER}\r\n{LINE}\r\n".replace(",", ";").encode(),
        f"{HEADER}\n{LINE}".replace(",", "\t").encode(),
        f"{HEADER}\n{LINE}".replace(",", "|").encode(),
        f"{HEADER}\n{LINE}\n".encode("utf-16"),
        f'{HEADER}\n\n,,,,\n"{LINE.replace(",", chr(34) + "," + chr(34))}"\n'.encode(),
        f'{HEADER.upper()},note\n{LINE},"two\nlines, of ""text"""\n'.encode(),
        f"{HEADER},\n{LINE},\n".encode(),
        f"{HEADER}\n{LINE.replace('10', '10.0').replace('2026-06-01T00:00:00+00:00', '1780272000.0')}\n".encode(),
        f"{HEADER}\n{LINE.replace('2026-06-01T00:00:00+00:00', '2026-05-31T20:00:00-04:00')}\n".encode(),
    ],
    ids=[
        "bom",
        "crlf",
        "sep=",
        "tab",
        "pipe",
        "utf-16",
        "blank lines",
        "quoted newline",
        "empty column",
        "float",
        "zone",
    ],
)
def test_a_file_is_read_as_spreadsheets_and_scripts_save_it(read, text):
    assert sums(read(text)) == {(1, "gpt-5", ""): (1, 10, 2)}


@pytest.mark.parametrize(
    ("text", "mark", "count"),
    [
        ("1234", None, 1234), ("1,234", ".", 1234), ("1.234", ",", 1234), ("1.234.567", None, 1_234_567),
        ("1.234,00", None, 1234), ("1,234.00", None, 1234), ("1 234", None, 1234), ("1\u202f234\u202f567", None, 1_234_567),
        ("1'234", None, 1234), ("1e3", ".", 1000), ("12,0", None, 12), ("0.000", None, 0), (" 7 ", None, 7),
    ],
)  # fmt: skip
def test_counts_are_read_in_every_spelling(read, text, mark, count):
    found = read(f"day;model;tokens_out\n2026-06-01;m;{text}\n", mark=mark)
    assert sums(found) == {(1, "m", ""): (count,)}


@pytest.mark.parametrize(
    ("text", "micro_usd"),
    [
        ("$1.50", 1_500_000),
        ("-0.25", -250_000),
        ("1.0E-5", 10),
        ("US$ 2", 2_000_000),
        ("0.0000004", 0),
        ("3 USD", 3_000_000),
    ],
)
def test_money_is_read_in_every_spelling(read, text, micro_usd):
    assert sums(read(f"day,model,cost_usd\n2026-06-01,m,{text}\n")) == {(1, "m", ""): (micro_usd,)}


def test_fractions_of_a_micro_dollar_add_up(read):
    lines = "2026-06-01,m,0.0000004\n" * 1000
    assert sums(read(f"day,model,cost_usd\n{lines}")) == {(1, "m", ""): (400,)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "line 1: is empty"),
        ("", "line 1: is empty"),
        ("a,b\n1,2\n", "line 1: no export that is known has the columns a, b"),
        (f"{HEADER}\n{LINE}\n2026-06-01,1,gpt-5,ten,2\n", "line 3, column input_tokens: must be a number, not 'ten'"),
        (f"{HEADER}\n2026-06-01,1,gpt-5,1.5,2\n", "line 2, column input_tokens: must be a whole number, not '1.5'"),
        (f"{HEADER}\n2026-06-01,1,gpt-5,-1,2\n", "line 2, column input_tokens: must be a whole number, not '-1'"),
        (f"{HEADER}\n2026-06-01,1,gpt-5,1,NaN\n", "line 2, column output_tokens: must be a number, not 'NaN'"),
        (f"{HEADER}\n2026-06-01,1,gpt-5,1,Infinity\n", "line 2, column output_tokens: must be a number"),
        (f"{HEADER}\n2026-06-01,1,gpt-5,1,{'9' * 40}\n", "line 2, column output_tokens: must be less than 1,000,000,000,000,000"),
        (f"{HEADER}\n2026-06-01,1,gpt-5,1,{'9' * 4000}\n", "line 2, column output_tokens: must be a number, not '9999"),
        (f"{HEADER}\n2026-06-01,1,gpt-5,1,1e9999\n", "line 2, column output_tokens: must be less than"),
        (f'{HEADER},note\n{LINE},"a\nb"\n2026-06-01,1,gpt-5,ten,2,"c\n\nd"\n', "line 4, column input_tokens: must be a number"),
        (f"{HEADER}\n01/06/2026,1,gpt-5,1,2\n", "line 2, column start_time_iso: must be a day such as 2027-01-31"),
        (f"{HEADER}\n999999999999999,1,gpt-5,1,2\n", "line 2, column start_time_iso: must be a day"),
        (f"{HEADER}\n,1,gpt-5,1,2\n", "line 2, column start_time: must say which day the line is of"),
        (f"{HEADER}\n2026-06-01,1,gpt-5,1\n", "line 2: has 4 cells, the header has 5"),
        (f"{HEADER}\n2026-06-01,1,gpt-5,1,000,2\n", "line 2: has 6 cells, the header has 5"),
        (f'{HEADER}\n2026-06-01,1,"gpt-5,1,2\n', "line 2: is no CSV: unexpected end of data"),
        (f"{HEADER},model\n{LINE},gpt-5\n", "line 1, column model: stands twice"),
        (f"{HEADER}\n{LINE}\n".encode() + b"2026-06-01,1,gpt-\xff,1,2\n", "line 3: is not UTF-8"),
        (HEADER + "," + "x" * (1 << 20), "line 1: is longer than 1,048,576 bytes"),
        ("end_time_iso," + HEADER + "\n2026-06-08T00:00:00Z," + LINE, "line 2, column start_time_iso: is of more than one day"),
        ("day,model,cost_usd,amount_currency,amount_value\n2026-06-01,m,1,eur,1\n", "line 2, column start_time: must say"),
        ("start_time,amount_value,amount_currency\n2026-06-01,1,eur\n", "line 2, column amount_currency: must be USD"),
    ],
)  # fmt: skip
def test_a_broken_csv_is_refused_with_its_line_and_column(read, text, message):
    with pytest.raises(Unreadable) as refused:
        read(text)
    assert message in str(refused.value)


PAGE = {"data": [{"start_time": 1780272000, "end_time": 1780358400, "results": []}], "has_more": False}
RESULT = {"object": "organization.usage.completions.result", "input_tokens": 10, "output_tokens": 2, "num_model_requests": 1, "model": "gpt-5"}  # fmt: skip


def page(*results, **bucket):
    return {"data": [PAGE["data"][0] | {"results": list(results)} | bucket], "has_more": False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1, column 2: is no JSON of an export"),
        ("[]", "line 1: is no page of a usage or costs API"),
        ('{"error": {"message": "Incorrect API key"}}', "line 1: is no page of a usage or costs API"),
        ('{"data": [1]}', "line 1, column 11: is no JSON of an export: must be '{', not '1'"),
        ('{"data": [{"results": [1]}]}', "line 1, column 24: a result must be an object"),
        ('{"data": [{"start_time": 1780272000,\n "results": [{"a": 1,}]}]}', "line 2, column 2"),
        ('{"data": [{"start_time": 1780272000, "results": []},]}', "is no JSON of an export: ']' after a comma"),
        ("[" * 50, "is nested too deep for an export"),
        ('{"data": [{"results": [' + "[" * 100_000, "is no JSON of an export"),
        (json.dumps(page({"object": "other"})), "this is no result of a usage or costs API"),
        (json.dumps(page(RESULT | {"input_tokens": "many"})), "column 74, input_tokens: must be a number, not 'many'"),
        (json.dumps(page(RESULT | {"input_tokens": True})), "input_tokens: must be a number, not 'True'"),
        (json.dumps(page(RESULT | {"input_tokens": [1]})), "input_tokens: must be a number, not '[1]'"),
        (json.dumps(page(RESULT)).replace("10,", "NaN,"), "NaN is no number"),
        (json.dumps(page(RESULT)).replace("10,", "9" * 5000 + ","), "is no JSON of an export"),
        (json.dumps(page(RESULT)).replace("10,", "9" * 30 + ","), "input_tokens: must be less than"),
        (json.dumps(page(RESULT, start_time=None)), "start_time: the bucket does not say when it begins"),
        (json.dumps(page(RESULT, end_time=1780272000 + 7 * 86_400)), "start_time: is of more than one day in UTC"),
        (json.dumps(page(RESULT, start_time=1780300000, end_time=1780386400)), "start_time: is of more than one day in UTC"),
        (json.dumps(page(RESULT, {"amount": "1", "currency": "USD"})), "Anthropic cost report among OpenAI usage"),
        (json.dumps(page({"amount": "1", "currency": "EUR"})), "currency: must be USD, not 'eur'"),
        (b'{"data": [{"results": [{"a": "\xff"}]}]}', "is not UTF-8"),
    ],
)  # fmt: skip
def test_a_broken_json_is_refused_with_its_line_and_column(read, text, message):
    with pytest.raises(Unreadable) as refused:
        read(text)
    assert message in str(refused.value)
    assert str(refused.value).startswith("line ")


def test_pages_may_be_a_list_or_stand_one_after_the_other(read):
    one = json.dumps(page(RESULT))
    for text in (f"[{one}, {one}]", f"{one}\n{one}", f"{one}{one}", json.dumps(page(RESULT, RESULT)["data"])):
        assert sums(read(text)) == {(1, "gpt-5", ""): (2, 20, 4)}, text


def test_other_endpoints_are_left_out_and_told(read):
    embeddings = {"object": "organization.usage.embeddings.result", "input_tokens": 9, "num_model_requests": 9}
    found = read(json.dumps(page(RESULT, embeddings)))
    assert sums(found) == {(1, "gpt-5", ""): (1, 10, 2)}
    assert found.notes == ("left out of the export: 1 of other endpoints than chat completions",)


def test_hours_and_minutes_are_put_together_to_days(read):
    hours = [page(RESULT, start_time=1780272000 + n * 3600, end_time=1780272000 + (n + 1) * 3600) for n in range(30)]
    assert sums(read(json.dumps(hours))) == {(1, "gpt-5", ""): (24, 240, 48), (2, "gpt-5", ""): (6, 60, 12)}


def test_an_export_of_a_million_different_models_is_refused(read, monkeypatch):
    monkeypatch.setattr(export, "MOST_GROUPS", 10)
    with pytest.raises(Unreadable, match="has more than 10 days, models and tiers"):
        read("\n".join([HEADER, *(f"2026-06-01,1,m{n},1,1" for n in range(11))]))
    with pytest.raises(Unreadable, match="has more than 10 days, models and tiers"):
        read(json.dumps(page(*(RESULT | {"model": f"m{n}"} for n in range(11)))))


class Endless(io.RawIOBase):
    """A file of `number` pieces that stands nowhere."""

    def __init__(self, first, piece, number, last=b""):
        self._pieces = iter([first, *([piece] * number), last])
        self._rest = b""

    def readable(self):
        return True

    def readinto(self, buffer):
        while len(self._rest) < len(buffer):
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest += piece
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def seek(self, group, whence=0):
        return 0


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_long_export_is_never_in_memory(monkeypatch, kind):
    number = times(30_000, 1_000_000)
    tally = Tally(ReadOptions())
    tracemalloc.start()
    if kind == "csv":
        monkeypatch.setattr(csv_file, "_encoding", lambda _: "utf-8-sig")
        tally.read_csv(io.BufferedReader(Endless(f"{HEADER}\n".encode(), f"{LINE}\n".encode(), number)))
    else:
        begin = b'{"data": [{"results": [' + json.dumps(RESULT).encode()
        end = b'], "start_time": 1780272000}]}'
        file = io.BufferedReader(Endless(begin, b"," + json.dumps(RESULT).encode(), number - 1, end))
        tally.read_json(json_file.JsonReader(file))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sums(tally.export()) == {(1, "gpt-5", ""): (number, 10 * number, 2 * number)}
    assert peak < 4_000_000


class Counting(io.BytesIO):
    """A file that counts how often it is read."""

    reads = 0

    def read(self, size=-1):
        self.reads += 1
        return super().read(size)


def test_a_long_value_is_decoded_a_few_times_and_not_once_a_chunk(monkeypatch):
    monkeypatch.setattr(json_file, "CHUNK", 100)
    file = Counting(json.dumps(page(RESULT | {"project_id": "p" * 1_000_000})).encode())
    tally = Tally(ReadOptions())
    tally.read_json(json_file.JsonReader(file))
    assert sums(tally.export()) == {(1, "gpt-5", ""): (1, 10, 2)}
    assert file.reads < 30


def test_a_value_without_end_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(json_file, "LONGEST_VALUE", 1_000)
    file = Counting(b'{"data": [{"results": [{"a": "' + b"x" * 10_000_000)
    with pytest.raises(Unreadable, match="this value is longer than 1,000 characters"):
        Tally(ReadOptions()).read_json(json_file.JsonReader(file))
    assert file.tell() < 1_000_000


@st.composite
def lines(draw):
    models = st.sampled_from(["gpt-5", "gpt-5-2025-08-07", 'say "hi"', "a,b;c\td|e", "two\nlines", ""])
    one = st.tuples(st.integers(0, 40), models, st.sampled_from(["", "default", "flex"]), *[st.integers(0, 10**9)] * 4)
    return draw(st.lists(one, min_size=1, max_size=12))


def by_hand(made):
    told = any(tier for _, _, tier, *_ in made)
    groups = {}
    for number, model, tier, requests, whole, cached, output in made:
        day = JUNE_1 + timedelta(days=number)
        group = ExportGroup(day, model, {"": "default"}.get(tier, tier) if told else "")
        groups[group] = groups.get(group, BookedAmounts()).plus(BookedAmounts(requests, whole, cached, 0, output))
    return groups


@given(
    lines(),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@settings(max_examples=times(150, 5_000))
def test_no_line_of_a_csv_is_lost(made, separator, end, encoding):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, lineterminator=end)
    writer.writerow(["day", "model", "tier", "requests", "tokens_in", "tokens_cached", "tokens_out"])
    writer.writerows([JUNE_1 + timedelta(days=number), *rest] for number, *rest in made)
    tally = Tally(ReadOptions())
    tally.read_csv(io.BytesIO(out.getvalue().encode(encoding)))
    found = tally.export()
    assert found.amounts == by_hand(made)
    assert total_of(found.amounts.values()).requests == sum(line[3] for line in made)


@given(lines(), st.integers(1, 50), st.booleans(), st.sampled_from([None, 1]))
@settings(max_examples=times(150, 5_000))
def test_no_result_of_a_json_is_lost_wherever_a_chunk_ends(made, chunk, time_first, indent):
    data = []
    for number, model, tier, requests, whole, cached, output in made:
        start = int(datetime.combine(JUNE_1, datetime.min.time(), UTC).timestamp()) + number * 86_400
        result = {
            "num_model_requests": requests, "input_tokens": whole, "input_cached_tokens": cached,
            "output_tokens": output, "model": model or None, "service_tier": tier or None,
        }  # fmt: skip
        results = {"results": [result]}
        bucket = {"start_time": start} | results if time_first else results | {"start_time": start}
        data.append(bucket)
    text = json.dumps({"object": "page", "data": data, "has_more": False}, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_file, "CHUNK", chunk)
        tally = Tally(ReadOptions())
        tally.read_json(json_file.JsonReader(io.BytesIO(text.encode())))
        assert tally.export().amounts == by_hand(made)


@given(
    st.binary(max_size=300) | st.text(max_size=300).map(str.encode),
    st.sampled_from([b"", f"{HEADER}\n".encode(), b'{"data": [', b'[{"results": [{']),
)
@settings(max_examples=times(400, 20_000))
def test_any_other_file_is_refused_and_nothing_else(tmp_path_factory, content, begin):
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(begin + content)
    with suppress(Unreadable):
        read_export(file)


def test_exports_are_read_and_compared_without_the_sql_extra():
    code = "import sys, crplugins.ledger.reconcile.compare; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
