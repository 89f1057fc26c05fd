"""Two parties read one path differently: what reaches a model, plugins have seen; what is public leads nowhere else."""

import pytest

from crplugins.core.patterns import PathSet
from tests.attacks.house import Door, http, question, send

# Targets of a POST without a key.
SPELLINGS: list[bytes] = [
    b"/v1/chat/completions", b"/v1/chat/completions/", b"//v1/chat/completions", b"/v1//chat/completions", b"/V1/CHAT/COMPLETIONS",
    b"/v1/chat/completions%0A", b"/v1/chat/completions%0D%0A", b"/v1/chat/completions%00", b"/v1/chat/completions%20",
    b"/v1/chat/completions;a=b", b"/v1/chat;a=b/completions", b"/v1/chat/completions%3Fa", b"/v1/chat/completions%23a",
    b"/v1/chat%2Fcompletions", b"/v1%2Fchat%2Fcompletions", b"/v1/chat%252Fcompletions", b"/v1/chat\\completions",
    b"/v1/chat%5Ccompletions", b"/v1/./chat/completions", b"/v1/x/../chat/completions", b"/v1/%2e/chat/completions",
    b"/v1/x/%2e%2e/chat/completions", b"/v1/x/..%2Fchat/completions", b"/v1/chat/c%6Fmpletions", b"/v1/chat/c%256Fmpletions",
    b"/v1/chat/completions.", b"/v1/chat/completions/.", b"/v1/chat/completions/..;/completions", b"/v1/chat/completions%EF%BC%8F",
    b"/v1/chat/completions%E2%80%8B", b"/v1/chat/complet%C4%B1ons", b"/v1/chat/completion%C5%BF", b"/v1/chat/comp%C0%ACetions",
    b"/healthz/../v1/chat/completions", b"/healthz/..%2fv1/chat/completions", b"/metrics/../v1/chat/completions",
    b"http://other/v1/chat/completions", b"http://healthz/v1/chat/completions", b"/v1/chat/completions?/healthz",
    b"/healthz%2f..%2fv1%2fchat%2fcompletions", b"/readyz;/../v1/chat/completions", b"/openapi.json/../v1/chat/completions",
]  # fmt: skip


@pytest.mark.parametrize("target", SPELLINGS)
def test_nobody_reaches_a_model_by_another_spelling(door: Door, target: bytes) -> None:
    asked = len(door.asked())
    for method in (b"POST", b"PUT", b"GET"):
        answer = send(door.port, http(target, question(door.model), key=None, method=method))
        assert answer.status in {400, 401, 404, 405, 413, 422}
    assert len(door.asked()) == asked


OVERRIDES = [b"x-http-method-override: POST", b"x-http-method: POST", b"x-method-override: POST"]


@pytest.mark.parametrize("header", OVERRIDES)
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"PATCH", b"DELETE", b"TRACE"])
def test_another_method_asks_no_model(door: Door, method: bytes, header: bytes) -> None:
    asked = len(door.asked())
    for body in (b"", question(door.model)):
        send(door.port, http(b"/v1/chat/completions?_method=POST", body, header + b"\r\n", method=method))
    assert len(door.asked()) == asked


BELOW = PathSet(["/pages/*", "/exact"])


@pytest.mark.parametrize(
    "path",
    [
        "/pages/../private", "/pages/a/../../private", "/pages/..", "/pages/.", "/pages/./../x", "/pages/..;/private",
        "/pages/..;a=b/private", "/pages\\..\\private", "/pages/..\\private", "/pages/%2e%2e/private", "/pages/%2E./private",
        "/pages/..%2fprivate", "/pages/..%5Cprivate", "/pages/a%2f..%2f..%2fprivate", "/pages/.%2e/private", "/pages",
        "/PAGES/a", "//pages/a", "/exact/", "/exact/a", "/pagesa",
    ],
)  # fmt: skip
def test_what_leads_out_of_a_public_place_is_not_below_it(path: str) -> None:
    assert path not in BELOW


@pytest.mark.parametrize(
    "path", ["/pages/", "/pages/a", "/pages/a.b/c", "/pages/...", "/pages/.hidden", "/pages/a..b", "/exact"]
)
def test_what_is_below_a_public_place_is_public(path: str) -> None:
    assert path in BELOW
