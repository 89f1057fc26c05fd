"""A form is read as every reader reads it, and refused where they would differ."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.errors import GatewayError
from crplugins.core.form_body import FormBody

TYPE = b"multipart/form-data; boundary=xYz"
SOUND = bytes(range(256)) * 4


def part(name: str, value: bytes, more: str = "", headers: str = "") -> bytes:
    head = f'--xYz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{headers}\r\n'
    return head.encode() + value + b"\r\n"


FILE = part("file", SOUND, '; filename="a.wav"', "Content-Type: audio/wav\r\n")
END = b"--xYz--\r\n"
WHOLE = part("model", b"whisper-1") + FILE + part("stream", b"true") + END


def read(raw: bytes, content_type: bytes = TYPE) -> FormBody:
    return FormBody.of_form(raw, [(b"content-type", content_type)])


def test_fields_are_texts_and_files_are_none() -> None:
    form = read(WHOLE)
    assert {name: form.get(name) for name in form} == {"model": "whisper-1", "stream": True}
    assert form.get("model", str) == "whisper-1"
    assert form.files == ["file"]
    assert form.raw is WHOLE
    assert form.content_type == TYPE.decode()


def test_a_field_is_written_and_every_other_byte_stays() -> None:
    form = read(WHOLE)
    copy = form.copy()
    copy.set("model", "large")
    copy.set("temperature", 0.5)
    copy.remove("stream")
    copy.remove("nothing")
    assert form.raw is WHOLE
    assert copy.raw == part("model", b"large") + FILE + part("temperature", b"0.5") + END
    assert {name: copy.get(name) for name in copy} == {"model": "large", "temperature": "0.5"}


def test_a_list_is_a_field_that_stands_several_times_under_a_name_with_brackets() -> None:
    form = read(part("include[]", b"logprobs") + part("include[]", b"x") + part("model", b"m") + END)
    assert form.get("include[]") == ["logprobs", "x"]


def test_a_form_of_dotnets_client_is_read() -> None:
    parts = (
        "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model\r\n\r\nwhisper-1",
        "Content-Type: audio/wav\r\nContent-Disposition: form-data; name=file; filename=it's.wav; "
        "filename*=utf-8''it%27s.wav\r\n\r\nRIFF",
    )
    raw = "".join(f"--xYz\r\n{part}\r\n" for part in parts).encode() + END
    form = read(raw, b'multipart/form-data; boundary="xYz"')
    form.set("model", "large")
    assert (form.get("model", str), form.files) == ("large", ["file"])
    assert form.raw == raw.replace(b"whisper-1", b"large")


@pytest.mark.parametrize("raw", [b"\r\n" + WHOLE, WHOLE + b"\r\n", WHOLE[:-2]])
def test_blank_lines_around_a_form_are_none_of_it(raw: bytes) -> None:
    form = read(raw)
    form.set("model", "large")
    form.set("temperature", "0")
    assert (form.get("model", str), form.get("temperature"), form.files) == ("large", "0", ["file"])
    assert read(form.raw).fields == form.fields


def test_a_file_may_have_an_encoded_name_alone() -> None:
    assert read(part("file", SOUND, "; filename*=UTF-8''%C3%BC.wav") + END).files == ["file"]


NAMES = {
    "a quote as RFC 7578 and curl write it": '; filename="a\\"b.png"',
    "a quote as browsers write it": '; filename="a%22b.png"',
    "a quote at the end": '; filename="a\\""',
    "nothing but quotes": '; filename="\\"\\"\\""',
    "a backslash as curl writes it": '; filename="C:\\\\a.png"',
    "a backslash as browsers write it": '; filename="C:\\a.png"',
    "a backslash at the end": '; filename="C:\\"',
    "a backslash and a quote": '; filename="a\\\\\\"b.png"',
    "a semicolon": '; filename="a;b=c.png"',
    "a semicolon behind a quote": '; filename="a\\"b; c.png"',
    "a quote, and an encoded name behind": '; filename="a\\"b.png"; filename*=UTF-8\'\'a%22b.png',
    "an encoded name before": "; filename*=UTF-8''%22%E2%82%AC.png; filename=\"a.png\"",
    "an encoded name in another charset": "; filename*=iso-8859-1'en'%22%A3.png",
    "no ASCII": '; filename="\u20ac\\"\u00fc.png"',
    "nothing": '; filename=""',
}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_may_have_any_name_and_its_bytes_stay(name: str) -> None:
    raw = part("model", b"m") + part("image", SOUND, NAMES[name], "Content-Type: image/png\r\n") + END
    form = read(raw)
    assert (form.files, form.get("model", str), form.raw) == (["image"], "m", raw)
    form.set("model", "another")
    assert form.raw == raw.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nanother\r\n", 1)


@pytest.mark.parametrize("charset", ["US-ASCII", "ISO-8859-1", "windows-1252"])
def test_another_charset_than_utf_8_is_taken_where_it_reads_the_same(charset: str) -> None:
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: 8bit\r\n"
    assert read(part("model", b"whisper-1", headers=head) + END).get("model", str) == "whisper-1"
    for text in ("\u00fc".encode(), "\u00fc".encode("latin-1")):
        with pytest.raises(GatewayError):
            read(part("prompt", text, headers=head) + END)


@pytest.mark.parametrize("content_type", [
    b"multipart/form-data; boundary=xYz", b'multipart/form-data; boundary="xYz"', b"Multipart/Form-Data;boundary=xYz ",
    b"multipart/form-data; charset=UTF-8; boundary=xYz", b"multipart/form-data; boundary=xYz; charset=utf-8",
])  # fmt: skip
def test_a_boundary_is_read_as_clients_write_it(content_type: bytes) -> None:
    assert read(WHOLE, content_type).get("model", str) == "whisper-1"


@pytest.mark.parametrize("content_type", [
    b"application/json", b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/mixed; boundary=xYz",
    b"multipart/form-data; boundary=a; boundary=xYz", b"multipart/form-data; boundary=xYz, application/json",
    b"multipart/form-data; boundary=xYz; charset=utf-16",
])  # fmt: skip
def test_another_type_is_no_form(content_type: bytes) -> None:
    with pytest.raises(GatewayError) as refused:
        read(WHOLE, content_type)
    assert refused.value.status == 415


def test_two_types_are_none() -> None:
    with pytest.raises(GatewayError):
        FormBody.of_form(WHOLE, [(b"content-type", TYPE), (b"content-type", b"multipart/form-data; boundary=b")])


AMBIGUOUS = {
    "nothing": b"",
    "no end": WHOLE[: -len(END)],
    "an end of one dash": WHOLE[:-3],
    "a preamble": b"hello\r\n" + WHOLE,
    "two blank lines before it": b"\r\n\r\n" + WHOLE,
    "an epilogue of a line": WHOLE + b"hello",
    "an epilogue": WHOLE + part("model", b"large"),
    "bare line feeds": WHOLE.replace(b"\r\n", b"\n"),
    "the model twice": part("model", b"small") + WHOLE,
    "the model in disguise": part("Model", b"small") + WHOLE,
    "the model as a file with an encoded name": part("model", b"small", "; filename*=UTF-8''a") + END,
    "the model as a file": part("model", b"small", '; filename="a"') + END,
    "no name": b"--xYz\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END,
    "two names": part("a", b"x", '; name="model"') + END,
    "a name behind a file's": part("a", b"x", '; filename="a"; name="model"') + END,
    "a name behind a quote in a file's": part("a", b"x", '; filename="a\\"; name=\\"model"') + END,
    "a name behind two quotes in a file's": part("a", b"x", '; filename="\\"\\";name*=model"') + END,
    "a name behind a backslash at a file's end": part("a", b"x", '; filename="a\\"; name="model"') + END,
    "a name behind a file's without an end": part("a", b"x", '; filename="a\\\\\\"; name=model') + END,
    "a name in another charset": part("a", b"x", "; name*=utf-8''model") + END,
    "a name without quotes and a second one": part("a", b"x").replace(b'"a"', b"a; name=model") + END,
    "the model with quotes and without": part("model", b"a").replace(b'"model"', b"model") + WHOLE,
    "two dispositions": part("a", b"x", headers='Content-Disposition: form-data; name="model"\r\n') + END,
    "a coding": part("model", b"eA==", headers="Content-Transfer-Encoding: base64\r\n") + END,
    "a charset": part("model", b"x", headers="Content-Type: text/plain; charset=utf-7\r\n") + END,
    "a header that nobody knows": part("model", b"x", headers="X-Name: model\r\n") + END,
    "a folded header": part("model", b"x", headers=" more\r\n") + END,
    "no UTF-8": part("model", b"\xff") + END,
    "padding behind a boundary": WHOLE.replace(b"--xYz\r\n", b"--xYz \r\n", 1),
    "too many parts": part("a[]", b"x") * 201 + END,
    "a long text": part("prompt", b"x" * 4_194_305) + END,
    "a long head": part("a" * 5000, b"x") + END,
    "a number that is none": part("n", b"1e3") + END,
    "a stream that is neither": part("stream", b"True") + END,
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_readers_take_differently_is_refused(name: str) -> None:
    with pytest.raises(GatewayError) as refused:
        read(AMBIGUOUS[name])
    assert refused.value.status == 400


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_raise_nothing_else(data: bytes) -> None:
    for raw in (data, b"--xYz" + data, b"--xYz\r\n" + data + END, part("a", data) + END):
        with suppress(GatewayError):
            read(raw)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), st.text(max_size=50), max_size=5))
def test_what_is_written_is_read_again(values: dict[str, str]) -> None:
    form = read(FILE + END)
    values = {f"x_{name}": value for name, value in values.items() if "xYz" not in value}
    try:
        for name, value in values.items():
            form.set(name, value)
    except (GatewayError, UnicodeEncodeError):
        return
    assert {name: read(form.raw).get(name, str) for name in form} == values
