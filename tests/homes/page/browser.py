"""A headless Chromium for tests of the page: Debian's, driven by Playwright, which brings no browser of its own here."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

VARIABLE = "CRPLUGINS_CHROMIUM"
# It draws without a graphics card, for which it needs no process of its own; nor does each page, which is all of one origin.
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--in-process-gpu", "--renderer-process-limit=1"]
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@dataclass
class Watched:
    """What went wrong in a page: messages of its console, exceptions, violations of its policy, dialogs."""

    wrong: list[str] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    """Each request that it made."""

    def expect(self, text: str) -> None:
        """One kind of message is no fault: the browser writes each answer of 4xx and 5xx into the console."""
        self.wrong = [message for message in self.wrong if text not in message]


@contextmanager
def chromium() -> Iterator[Any]:
    """Skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = os.environ.get(VARIABLE) or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"there is no headless Chromium (apt-get install chromium-headless-shell, or {VARIABLE})")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=_ARGUMENTS)
        yield browser
        browser.close()


def watch(page: Any) -> Watched:
    """Also tells of the policy's violations, which happen before the page's own modules run."""
    watched = Watched()
    page.on(
        "console", lambda message: watched.wrong.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: watched.wrong.append(str(error)))
    page.on("dialog", lambda dialog: (watched.wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: watched.asked.append(request))
    page.add_init_script(
        "addEventListener('securitypolicyviolation', (event) => console.error('violation', event.violatedDirective, event.blockedURI))"
    )
    return watched
