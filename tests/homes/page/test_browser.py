"""The page in a real browser, over a real gateway with two workers and real records."""

# ruff: noqa: F811  # fixtures of another module

import os
import re
import subprocess
import time
import tomllib

import httpx
import pytest

from tests.cli.conftest import environ, serve  # noqa: F401  # fixtures
from tests.homes.page.browser import chromium, watch
from tests.integration.test_openai_node import node_folder  # noqa: F401  # a fixture
from tests.warm import PYTHON

KEY = "sk-team-a-0123456789abc"
ADMIN = "admin-token-0123456789"
EVIL_MODEL = "<script>document.title='owned'</script>"
EVIL_KEY = "<img src=x onerror=document.title='owned'>"
CONFIG = f"""\
model_list:
  - {{model_name: echo, litellm_params: {{model: demo/echo}}, model_info: {{input_cost_per_token: 0.001, output_cost_per_token: 0.002}}}}
  - {{model_name: "{EVIL_MODEL}", litellm_params: {{model: demo/echo}}, model_info: {{input_cost_per_token: 0, output_cost_per_token: 0}}}}
  - {{model_name: broken, litellm_params: {{model: openai/up, api_base: "http://127.0.0.1:9/v1", api_key: sk-upstream-0, num_retries: 0}}}}
keys: {{file: keys.yaml}}
admin: {{token: {ADMIN}}}
ledger: {{url: "sqlite:///usage.db", commit_seconds: 0}}
page: {{contact: platform@example.com}}
"""
KEYS = f"""\
keys:
  - {{id: team-a, secret: {KEY}, team: search, limits: {{requests_per_minute: 1000, tokens_per_minute: 500000}}}}
  - {{id: poor, secret: sk-poor-0123456789abc, team: search, limits: {{requests_per_minute: 1}}, budget: {{usd: 5, period: month}}}}
  - {{id: "{EVIL_KEY}", secret: sk-evil-0123456789abc}}
"""
VIEWS = ("start", "key", "playground", "spend", "keys", "teams", "live", "deployments", "refusals", "changes")


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def gateway(serve, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "gateway.yaml").write_text(CONFIG)
    (folder / "keys.yaml").write_text(KEYS)
    with serve("--workers", 2, cwd=folder) as running:
        for secret, model in (
            (KEY, "echo"),
            ("sk-evil-0123456789abc", EVIL_MODEL),
            ("sk-evil-0123456789abc", "broken"),
        ):
            chat(running.url, secret, model)
        for _ in range(2):
            chat(running.url, "sk-poor-0123456789abc", "echo")
        yield running


def chat(url, secret, model):
    body = {"model": model, "messages": [{"role": "user", "content": "hello there"}]}
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=60)


def wait_until_it_works(url, secret):
    """A worker knows within two seconds what another has written into the keys file."""
    end = time.monotonic() + 60
    while chat(url, secret, "echo").status_code != 200:
        assert time.monotonic() < end, "the key is unknown"


@pytest.fixture
def visit(browser, gateway):
    """`page = visit(locale="zh-CN", width=360)`: opened at the gateway. Whatever goes wrong in it fails the test."""
    opened = []

    def open_page(path="/", *, url=None, width=1280, **options):
        context = browser.new_context(**{"viewport": {"width": width, "height": 800}, "locale": "en-US", **options})
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.watched = watch(page)
        opened.append(page)
        page.goto((url or gateway.url) + path)
        page.wait_for_selector("h1")
        return page

    yield open_page
    wrong = [message for page in opened for message in page.watched.wrong]
    for page in opened:
        page.context.close()
    assert wrong == []


def go(page, view):
    page.evaluate(f"location.hash = '{view}'")
    page.wait_for_selector(f"nav a[aria-current=page][href='#{view}']")
    page.wait_for_selector("h1")
    page.locator("[aria-busy]").first.wait_for(state="detached")


def sign_in(page, view, secret):
    go(page, view)
    page.fill("input[type=password]", secret)
    page.click("main button[type=submit]")
    page.wait_for_selector(".signed-in")


def text_of(page):
    return page.inner_text("main")


def test_a_stranger_reads_what_this_is_whether_it_is_up_how_to_call_it_and_whom_to_ask(visit, gateway):
    page = visit()
    assert "OpenAI-compatible gateway" in page.inner_text("h1")
    page.wait_for_selector("#status[data-state=ok]")
    assert f"{gateway.url}/v1" in text_of(page)
    assert page.get_attribute("a[href^=mailto]", "href") == "mailto:platform@example.com"
    for name, part in (
        ("Python", "from openai import OpenAI"),
        ("Node", 'import OpenAI from "openai"'),
        ("Codex", "model_providers"),
    ):
        page.get_by_role("tab", name=name).click()
        assert part in page.inner_text("[role=tabpanel]")
        assert f"{gateway.url}/v1" in page.inner_text("[role=tabpanel]")


def sample(page, name):
    go(page, "start")
    page.get_by_role("tab", name=name).click()
    return page.inner_text("[role=tabpanel] code")


def test_the_samples_work_as_they_are_pasted(visit, gateway):
    page = visit()
    sign_in(page, "key", KEY)
    curl = sample(page, "curl")
    assert KEY not in curl
    script = curl.replace("=...", f"={KEY}").replace("curl ", "curl -sS ", 1)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert "Hello!" in done.stdout
    python = [*PYTHON.command, "-c", sample(page, "Python")]
    done = subprocess.run(python, env=os.environ | {"GATEWAY_API_KEY": KEY}, capture_output=True, text=True, check=True)
    assert "Hello!" in done.stdout
    codex = tomllib.loads(sample(page, "Codex"))
    assert (codex["model"], codex["model_providers"]["gateway"]["base_url"]) == ("echo", f"{gateway.url}/v1")
    assert codex["model_providers"]["gateway"]["wire_api"] == "responses"  # Codex speaks nothing else
    claude_code = sample(page, "Claude Code").replace(
        "claude --model", "echo $ANTHROPIC_BASE_URL $ANTHROPIC_AUTH_TOKEN"
    )
    environ = os.environ | {"GATEWAY_API_KEY": KEY}
    done = subprocess.run(["bash", "-c", claude_code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [gateway.url, KEY, "echo"]


def test_the_sample_for_node_works_as_it_is_pasted(visit, node_folder):
    page = visit()
    sign_in(page, "key", KEY)
    (node_folder / "sample.mjs").write_text(sample(page, "Node"))
    command = ["node", str(node_folder / "sample.mjs")]
    done = subprocess.run(
        command, env=os.environ | {"GATEWAY_API_KEY": KEY}, capture_output=True, text=True, check=True
    )
    assert "Hello!" in done.stdout


def test_a_wrong_key_is_told_in_the_gateways_words_and_is_not_kept(visit):
    page = visit("/#key")
    page.fill("input[type=password]", "sk-wrong-0123456789")
    page.press("input[type=password]", "Enter")
    page.wait_for_selector(".error:not(:empty)")
    assert "Incorrect API key provided" in page.inner_text(".error")
    assert "openai.com" not in text_of(page)
    assert page.query_selector(".signed-in") is None
    page.watched.expect("401 (Unauthorized)")


def test_a_key_sees_its_models_limits_and_usage(visit):
    page = visit()
    sign_in(page, "key", KEY)
    page.wait_for_selector(".chart")
    page.wait_for_selector("[role=meter]")
    shown = text_of(page)
    assert "echo" in shown
    assert "requests per minute" in shown
    assert re.search(r"of 1,000", shown)
    charts = [each.get_attribute("aria-label") for each in page.query_selector_all("[role=img]")]
    assert [label.partition(" by day")[0] for label in charts] == ["Cost", "Tokens", "Requests"]
    for stack in page.query_selector_all(".stack"):  # a cost far below 1 fills its bar too
        parts = sum(part.bounding_box()["height"] for part in stack.query_selector_all("span"))
        assert abs(parts - stack.bounding_box()["height"]) < 1
    page.locator("summary").first.click()
    assert page.locator("details table").first.is_visible()


def test_the_playground_streams_and_says_what_it_took(visit):
    page = visit()
    sign_in(page, "playground", KEY)
    page.get_by_label("Message", exact=True).fill("Say hello to the world")
    page.keyboard.press("Control+Enter")
    page.locator(".facts", has_text="output tokens").wait_for()
    assert "Say hello to the world" in page.inner_text(".answer")
    assert re.search(r"stop · first token after .* in all · \d+ input and \d+ output tokens", page.inner_text(".facts"))


def test_a_stream_in_the_playground_can_be_stopped(visit):
    page = visit()
    sign_in(page, "playground", KEY)
    page.get_by_label("Message", exact=True).fill("word " * 2000)
    page.get_by_role("button", name="Send").click()
    page.locator(".answer", has_text="word word").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.locator(".facts", has_text="stopped · first token").wait_for()
    assert page.inner_text(".error") == ""


def test_an_error_in_the_playground_is_the_gateways(visit):
    page = visit()
    sign_in(page, "playground", KEY)
    page.get_by_label("Model", exact=True).select_option("broken")
    page.get_by_label("Message", exact=True).fill("hello")
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector(".error:not(:empty)")
    assert re.search(r"\(request [0-9a-f-]{36}\)", page.inner_text(".error"))
    page.watched.expect("502 (Bad Gateway)")


def test_a_key_is_made_changed_rotated_disabled_revoked_and_deleted(visit, gateway):
    page = visit()
    sign_in(page, "keys", ADMIN)
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Id", exact=True).fill("made here")
    page.get_by_label("Team", exact=True).fill("search")
    page.get_by_label("requests per minute", exact=True).fill("7")
    page.get_by_label("US dollars", exact=True).fill("2.5")
    page.get_by_role("button", name="Make the key").click()
    secret = page.inner_text(".secret code")
    wait_until_it_works(gateway.url, secret)
    page.keyboard.press("Escape")
    assert page.inner_text(".secret code") == secret  # it is shown once, and not lost by a slip
    page.get_by_role("button", name="I have kept it").click()
    row = page.locator("tr", has_text="made here")
    row.wait_for()
    assert "7 requests per minute" in row.inner_text()
    assert "$2.50 per month" in row.inner_text()
    assert secret not in page.content()

    page.get_by_role("button", name="Change: made here").click()
    page.get_by_label("requests per minute", exact=True).fill("9")
    page.get_by_label("US dollars", exact=True).fill("")
    page.get_by_role("button", name="Save").click()
    row.get_by_text("9 requests per minute").wait_for()
    assert "$2.50" not in row.inner_text()

    page.get_by_role("button", name="Rotate: made here").click()
    page.get_by_label("Hours in which the old secret still works").fill("0")
    page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    second = page.inner_text(".secret code")
    page.get_by_role("button", name="I have kept it").click()
    row.wait_for()
    assert second != secret
    wait_until_it_works(gateway.url, second)

    for name, state in (("Disable", "disabled"), ("Enable", "live"), ("Revoke", "revoked")):
        page.get_by_role("button", name=f"{name}: made here").click()
        if name != "Enable":
            page.get_by_role("dialog").get_by_role("button", name=name).click()
        row.get_by_text(state, exact=True).wait_for()

    page.get_by_role("button", name="Delete: made here").click()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    row.wait_for()
    page.get_by_role("button", name="Delete: made here").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    row.wait_for(state="detached")

    go(page, "changes")
    rows = [[cell.inner_text() for cell in row.query_selector_all("td")] for row in page.query_selector_all("tbody tr")]
    assert [cells[2] for cells in rows[:7]] == [
        "deleted",
        "revoked",
        "enabled",
        "disabled",
        "rotated",
        "changed",
        "made",
    ]
    assert "limits requests_per_minute 7 → requests_per_minute 9" in rows[5][4]
    assert second not in page.content()


def test_who_changes_a_key_that_somebody_has_changed_meanwhile_is_told(visit, gateway):
    page = visit()
    sign_in(page, "keys", ADMIN)
    page.get_by_role("button", name="Change: poor").click()
    page.get_by_label("Owner", exact=True).fill("ann@example.com")
    headers = {"authorization": f"Bearer {ADMIN}"}
    assert httpx.patch(f"{gateway.url}/admin/keys/poor", json={"owner": "bob"}, headers=headers).status_code == 200
    page.get_by_role("button", name="Save").click()
    page.locator("dialog .error", has_text="changed").wait_for()
    assert httpx.get(f"{gateway.url}/admin/keys/poor", headers=headers).json()["owner"] == "bob"
    page.watched.expect("412 (Precondition Failed)")


def test_what_a_key_cannot_be_is_said_where_it_was_written(visit):
    page = visit()
    sign_in(page, "keys", ADMIN)
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Id", exact=True).fill("team-a")
    page.get_by_role("button", name="Make the key").click()
    error = page.locator("dialog .error")
    error.get_by_text("team-a").wait_for()
    page.watched.expect("409 (Conflict)")


def test_operators_see_spend_teams_deployments_and_refusals_with_why(visit):
    page = visit()
    sign_in(page, "spend", ADMIN)
    page.wait_for_selector(".chart")
    for part in ("By model", "By key", "By team", "team-a", "echo", "search"):
        assert part in text_of(page)
    go(page, "teams")
    page.locator("tr", has_text="search").wait_for()
    go(page, "deployments")
    page.locator("tr", has_text="openai/up at 127.0.0.1:9").wait_for()
    assert "in 2 processes" in text_of(page)
    go(page, "refusals")
    row = page.locator("tr", has_text="rate_limited").first
    row.wait_for()
    assert "poor" in row.inner_text()
    row.get_by_role("button", name="Explain").click()
    page.locator("dialog li", has_text="1 requests per minute (the key)").wait_for()
    assert page.locator("dialog [role=meter]").count() >= 2


def test_why_a_request_is_refused_is_said_in_the_readers_language(visit):
    page = visit(locale="zh-CN")
    sign_in(page, "refusals", ADMIN)
    row = page.locator("tr", has_text="rate_limited").first
    row.wait_for()
    row.get_by_role("button", name="解释").click()
    page.locator("dialog li", has_text="每分钟请求数 1").wait_for()
    assert "密钥 密钥 poor 有效" in page.locator("dialog li").first.inner_text()


def test_a_request_is_seen_while_it_runs_whichever_worker_has_it(visit):
    page, other = visit(), visit()
    sign_in(page, "live", ADMIN)
    sign_in(other, "playground", KEY)
    other.get_by_label("Message", exact=True).fill("word " * 3000)
    other.get_by_role("button", name="Send").click()
    row = page.locator("tr", has_text="team-a")
    row.wait_for()
    assert "stream" in row.inner_text()
    other.get_by_role("button", name="Stop").click()
    row.wait_for(state="detached")


def test_names_that_are_markup_are_text_in_every_view(visit):
    page = visit()
    sign_in(page, "keys", ADMIN)
    sign_in(page, "key", "sk-evil-0123456789abc")
    for view, name in (
        ("key", EVIL_MODEL), ("playground", EVIL_MODEL), ("keys", EVIL_KEY), ("spend", EVIL_MODEL), ("spend", EVIL_KEY),
        ("teams", EVIL_KEY), ("deployments", EVIL_MODEL), ("refusals", EVIL_KEY),
    ):  # fmt: skip
        go(page, view)
        page.locator("main").get_by_text(name).first.wait_for(state="attached")
        assert page.evaluate("document.querySelectorAll('script').length") == 1
        assert page.evaluate("document.querySelectorAll('img').length") == 0
    page.get_by_role("button", name=f"Change: {EVIL_KEY}") if view == "keys" else None
    assert "owned" not in page.title()


def test_a_secret_is_in_no_address_no_storage_and_no_form_that_is_sent_and_is_gone_when_loaded_anew(visit):
    page = visit()
    sign_in(page, "key", KEY)
    sign_in(page, "spend", ADMIN)
    page.wait_for_selector(".chart")
    for request in page.watched.asked:
        assert KEY not in request.url
        assert ADMIN not in request.url
        assert KEY not in (request.post_data or "")
    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
    assert KEY not in kept
    assert ADMIN not in kept
    assert page.context.cookies() == []
    assert not {form.get_attribute("method") for form in page.query_selector_all("form")} - {"post"}
    page.reload()
    page.wait_for_selector("input[type=password]")
    assert page.query_selector(".signed-in") is None


def test_a_secret_can_be_forgotten(visit):
    page = visit()
    sign_in(page, "key", KEY)
    page.get_by_role("button", name="Forget it").click()
    page.wait_for_selector("input[type=password]")
    go(page, "playground")
    page.wait_for_selector("input[type=password]")


def focused(page):
    return page.evaluate("document.activeElement.textContent || document.activeElement.type")


def test_all_of_it_is_done_with_a_keyboard_alone(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page = visit()
    order = []
    for _ in range(5):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert order == ["Skip to the content", "language", "Start", "My key", "Playground"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("input[type=password]")
    assert focused(page) == "Your key"  # a heading: the reader reads on at the beginning of the view
    page.keyboard.press("Tab")
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector(".signed-in")
    sign_in(page, "keys", ADMIN)
    page.get_by_role("button", name="Change: team-a").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog")
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    go(page, "start")
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    assert focused(page) == "Python"
    assert "from openai" in page.inner_text("[role=tabpanel]")


@pytest.mark.parametrize(("width", "locale"), [(360, "en-US"), (360, "zh-CN"), (320, "en-US")])
def test_nothing_is_wider_than_a_phone_in_any_view(visit, width, locale):
    page = visit(width=width, locale=locale)
    sign_in(page, "key", KEY)
    sign_in(page, "keys", ADMIN)
    for view in VIEWS:
        go(page, view)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view


def test_every_input_has_a_label_and_every_button_a_name(visit):
    page = visit()
    sign_in(page, "key", KEY)
    sign_in(page, "keys", ADMIN)
    for view in VIEWS:
        go(page, view)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("input, select, textarea, button, a")]
            .filter((each) => !each.labels?.length && !each.textContent.trim() && !each.ariaLabel)
            .map((each) => each.outerHTML)"""
        )
        assert nameless == [], view
        assert page.locator("h1").count() == 1


def test_the_browsers_language_is_spoken_and_another_can_be_chosen(visit):
    page = visit(locale="zh-CN")
    assert page.inner_text("h1") == "兼容 OpenAI 的网关"
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    page.select_option("#language", "en")
    page.get_by_role("heading", name="An OpenAI-compatible gateway").wait_for()
    page.reload()
    page.get_by_role("heading", name="An OpenAI-compatible gateway").wait_for()


def test_a_key_is_held_while_the_language_changes(visit):
    page = visit()
    sign_in(page, "key", KEY)
    page.select_option("#language", "zh")
    page.get_by_role("heading", name="我的密钥").wait_for()
    assert page.query_selector(".signed-in") is not None


def brightness(page, element="body"):
    color = page.evaluate(f"getComputedStyle(document.querySelector('{element}')).backgroundColor")
    return sum(int(part) for part in re.findall(r"\d+", color)[:3])


def test_light_and_dark_are_the_systems(visit):
    assert brightness(visit(color_scheme="light")) > 600
    assert brightness(visit(color_scheme="dark")) < 150


def test_nothing_moves_for_who_wants_no_motion(visit):
    page = visit(reduced_motion="reduce")
    sign_in(page, "key", KEY)
    page.wait_for_selector(".stack")
    assert page.evaluate("getComputedStyle(document.querySelector('.stack')).transitionDuration") == "0s"


def test_under_a_prefix_everything_is_found_with_and_without_its_slash(visit, serve, tmp_path):
    (tmp_path / "gateway.yaml").write_text("keys: [{id: k, secret: sk-key-0123456789}]\nserver: {root_path: /llm}\n")
    with serve(cwd=tmp_path) as running:
        root = f"http://127.0.0.1:{re.search(r':([0-9]+)', running.printed)[1]}"
        for path in ("/llm/", "/llm", "/"):
            page = visit(path, url=root)
            assert f"{root}/llm/v1" in text_of(page)
            page.wait_for_selector("#status[data-state=ok]")


def test_without_admin_there_are_no_views_for_operators(visit, serve, tmp_path):
    (tmp_path / "gateway.yaml").write_text("keys: [{id: k, secret: sk-key-0123456789}]\n")
    with serve(cwd=tmp_path) as running:
        page = visit("/#keys", url=running.url)
        assert [link.inner_text() for link in page.query_selector_all("nav a")] == ["Start", "My key", "Playground"]
        sign_in(page, "key", "sk-key-0123456789")
        page.get_by_text("keeps no records").wait_for()
