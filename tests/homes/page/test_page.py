"""The page's files: how they are served, what they may do, and that every text is there in every language."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import crplugins
from crplugins.config import ConfigError, parse_config
from crplugins.homes.gateway.app import Gateway
from crplugins.homes.page.page import PageFacts, page_files

STATIC = Path(crplugins.__file__).parent / "homes" / "page" / "static"
MODULES = sorted(STATIC.rglob("*.js"))
KEYS = [{"id": "k", "secret": "sk-key-0123456789"}]


def texts(language):
    return json.loads((STATIC / "texts" / f"{language}.json").read_text("utf-8"))


@pytest.fixture
def get(serve):
    """`await get(path, **words of the configuration)`: status, headers, body, as a browser asks that has no key."""

    async def ask(path, headers=None, **words):
        async with serve(Gateway(keys=KEYS, **words)) as url, aiohttp.ClientSession() as session:
            async with session.get(url + path, headers=headers) as answer:
                return answer.status, answer.headers, await answer.text()

    return ask


async def test_who_has_no_key_gets_the_page_with_a_policy_that_permits_nothing_inline(get):
    status, headers, body = await get("/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(each.strip().split(" ", 1) for each in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["trusted-types"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "<script>" not in body
    assert not re.search(r"\son\w+=|style=|javascript:|https?://", body)


async def test_each_file_has_its_type_and_is_asked_for_anew(get):
    for name, kind in (
        ("main.js", "text/javascript"),
        ("style.css", "text/css"),
        ("texts/zh.json", "application/json"),
    ):
        status, headers, _ = await get(f"/page/{name}")
        assert (status, headers["content-type"].partition(";")[0]) == (200, kind)
        assert headers["cache-control"] == "no-cache"
        status, _, body = await get(f"/page/{name}", headers={"if-none-match": headers["etag"]})
        assert (status, body) == (304, "")


@pytest.mark.parametrize(
    "name", ["nope.js", "../page.py", "..%2fpage.py", "texts", "texts/", "", "main.js/", "README.md"]
)
async def test_nothing_else_is_to_be_had(get, name):
    status, headers, body = await get(f"/page/{name}")
    assert status in (401, 404)
    assert headers["content-type"] == "application/json"
    assert "error" in json.loads(body)


async def test_the_page_can_be_left_out(get):
    for path in ("/", "/page/main.js"):
        status, _, body = await get(path, page=False)
        assert (status, json.loads(body)["error"]["message"]) == (404, f"Invalid URL (GET {path})")


async def test_under_a_path_of_an_app_it_is_found_by_its_own_links(serve):
    app = Starlette(routes=[Mount("/ai", Gateway(keys=KEYS))])
    async with serve(app) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/ai/") as answer:
            links = re.findall(r'(?:href|src)="([^"#]+)"', await answer.text())
        assert "page/main.js" in links
        for link in links:
            async with session.get(f"{url}/ai/{link}") as answer:
                assert answer.status == 200


@pytest.mark.parametrize("value", [True, None, {}, {"contact": "ask Ada"}])
def test_the_page_is_there_unless_it_is_left_out(value):
    assert parse_config({} if value is None else {"page": value}).page is not None


@pytest.mark.parametrize("value", [{"contact": ""}, {"contact": "a" * 301}, {"nope": 1}, 3, "yes"])
def test_what_is_no_page_is_refused(value):
    with pytest.raises(ConfigError):
        parse_config({"page": value})


def test_what_the_document_says_of_its_gateway_cannot_leave_its_attribute():
    evil = '"><script>alert(1)</script>'
    document = page_files(PageFacts(version="1", contact=evil))["index.html"].body.decode()
    assert evil not in document
    assert "&quot;&gt;&lt;script&gt;" in document


def test_links_are_relative_unless_a_prefix_is_configured():
    document = page_files(PageFacts(version="1"))["index.html"].body.decode()
    assert 'src="page/main.js"' in document
    document = page_files(PageFacts(version="1", root_path="/llm"))["index.html"].body.decode()
    for link in ("/llm/page/main.js", "/llm/page/style.css", "/llm/openapi.json"):
        assert f'="{link}"' in document


def test_every_language_has_the_same_texts_with_the_same_words_in_them():
    english, chinese = texts("en"), texts("zh")
    assert english.keys() == chinese.keys()
    for name, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", chinese[name])), name
    assert {path.stem for path in (STATIC / "texts").glob("*.json")} == {"en", "zh"}


def test_every_text_that_is_asked_for_is_there_and_each_is_asked_for():
    source = "\n".join(path.read_text("utf-8") for path in [*MODULES, STATIC / "index.html"])
    asked = set(re.findall(r'\bt\("(\w+)"', source)) | set(re.findall(r'data-text="(\w+)"', source))
    begun = set(re.findall(r"\bt\(`(\w*)\$\{", source))  # t(`limit_${name}`)
    english = texts("en")
    assert asked <= english.keys()
    quoted = set(re.findall(r'"(\w+)"', source))
    unused = {name for name in english if name not in asked | quoted and not name.startswith(tuple(begun - {""}))}
    assert {name for name in unused if not name.endswith(("_title", "_sure"))} == set()


def test_no_module_makes_markup_of_text_or_keeps_a_secret():
    for path in MODULES:
        source = path.read_text("utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", source), (
            path
        )
        assert "sessionStorage" not in source
        assert "cookie" not in source
        assert not re.search(r"from \"https?:", source)
        if path.name != "texts.js":
            assert "localStorage" not in source


def luminance(color):
    """Of `#rrggbb`, as WCAG 2.2 defines it."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_all_text_can_be_read_in_light_and_dark():
    style = (STATIC / "style.css").read_text("utf-8")
    colors = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\)", style))
    for text in ("text", "quiet", "accent", "good", "warn", "bad"):
        for ground in ("ground", "surface", "code"):
            for one, other in zip(colors[text].split(", "), colors[ground].split(", "), strict=True):
                light, dark = sorted((luminance(one), luminance(other)), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def test_modules_are_short_enough_to_be_read():
    assert {path.name: count for path in MODULES if (count := len(path.read_text("utf-8").splitlines())) > 200} == {}


def test_nothing_of_the_page_is_read_before_somebody_looks(monkeypatch):
    monkeypatch.setattr("crplugins.homes.page.page.page_files", lambda facts: pytest.fail("read"))
    Gateway(keys=KEYS)


def test_the_wheel_has_every_file_of_the_page(tmp_path):
    checkout = Path(crplugins.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(checkout)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("crplugins/homes/page/static/")}
    there = {f"crplugins/homes/page/static/{path.relative_to(STATIC)}" for path in STATIC.rglob("*") if path.is_file()}
    assert packed == there
    assert len(there) > 15
