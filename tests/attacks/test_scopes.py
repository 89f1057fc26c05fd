"""Scopes that clients name themselves: a name restricts its key, and never widens it, wherever and however it stands."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from crplugins import Gateway
from tests.attacks.house import METRICS_TOKEN, Answer, RawProvider, http, question, send
from tests.homes.matrix.stage import Stage

OF_KEY, OF_USER, OF_SESSION, ROOM, QUOTA = 6, 2, 3, 4, 5
HEADER, META, USER, SAFETY = "x-session-id: ", "metadata", "user", "safety_identifier"


class Named(NamedTuple):
    """What a request says of its user and its session."""

    fields: Mapping[str, Any] = MappingProxyType({})
    lines: bytes = b""


def in_header(name: str, *, line: str = HEADER) -> bytes:
    return f"{line}{name}\r\n".encode()


class Scopes:
    """A gateway with limits for keys, users and sessions, and a key for each question to it."""

    def __init__(self, stage: Stage, provider: RawProvider) -> None:
        self.provider = provider
        self._keys = iter(KEYS)
        limits = {
            "per_key": {"requests_per_day": OF_KEY},
            "per_user": {"requests_per_day": OF_USER},
            "per_session": {"requests": OF_SESSION},
        }
        ports = [
            stage.serve(
                Gateway(
                    model_list=models(provider),
                    keys=[{"id": key[3:], "secret": key} for key in KEYS],
                    limits={**limits, "identity": {"max_per_key": ROOM, "missing_session": missing}},  # type: ignore[typeddict-item]
                    metrics={"token": METRICS_TOKEN},
                )
            ).rpartition(":")[2]
            for missing in ("ignore", "refuse")
        ]
        self.port, self.strict = map(int, ports)

    def new_key(self) -> str:
        return next(self._keys)

    def ask(self, key: str, named: Named, *, model: str = "m", port: int | None = None) -> Answer:
        return send(port or self.port, http(body=question(model, **named.fields), headers=named.lines, key=key))

    def statuses(self, key: str, *named: Named) -> list[int]:
        return [self.ask(key, each).status for each in named]


KEYS = [f"sk-scope-{number:03}-0123456789" for number in range(100)]


def models(provider: RawProvider) -> list[Any]:
    upstream = {"api_base": provider.base_url, "api_key": "sk-upstream-0123456789", "model": "openai/served"}
    return [
        {"model_name": "m", "litellm_params": upstream, "handler": "direct"},
        {"model_name": "q", "litellm_params": {**upstream, "rpm": QUOTA}, "handler": "direct"},
    ]


@pytest.fixture(scope="module")
def scopes() -> Iterator[Scopes]:
    with Stage() as stage:
        yield Scopes(stage, stage.enter(RawProvider()))


# What a client says in its n-th request, to be somebody else each time or nobody at all.
ODD = ["ann", "Ann", "ann\u200b", "a\u0301nn", "\uff41nn", "\u202eann", "ann\u0000", "\U0001f600", "ann\n", "\ud7ff", "a/b", "..", "*"]  # fmt: skip
NOBODY = ["", " ", None, True, False, 0, -1, 1.5, [], {}, ["ann"], {"id": "ann"}, "unnamed"]
INVENTED: dict[str, Callable[[int], Named]] = {
    "a new user": lambda n: Named({USER: f"user-{n}"}),
    "a new safety identifier": lambda n: Named({SAFETY: f"user-{n}"}),
    "both, which disagree": lambda n: Named({USER: f"user-{n}", SAFETY: f"other-{-n}"}),
    "a new session in a header": lambda n: Named(lines=in_header(f"run-{n}")),
    "a new session in metadata": lambda n: Named({META: {"session_id": f"run-{n}"}}),
    "sessions that disagree": lambda n: Named({META: {"session_id": f"run-{n}"}}, in_header(f"walk-{n}")),
    "a new user in a new session": lambda n: Named({USER: f"user-{n}"}, in_header(f"run-{n}")),
    "now in one place and now in another": lambda n: Named({(USER, SAFETY)[n % 2]: f"user-{n // 2}"}),
    "letters that look alike": lambda n: Named({USER: ODD[n]}),
    "letters that look alike in a session": lambda n: Named({META: {"session_id": ODD[n]}}),
    "what names nobody": lambda n: Named({USER: NOBODY[n]}),
    "what names no session": lambda n: Named({META: {"session_id": NOBODY[n]}}),
    "metadata that are none": lambda n: Named({META: NOBODY[n]}),
    "numbers": lambda n: Named({USER: n}),
    "blanks around a name": lambda n: Named({USER: " " * n + "ann"}),
    "the longest names": lambda n: Named({USER: f"{n:0256}"}),
    "names that are too long": lambda n: Named({USER: "u" * (257 + 10_000 * n)}),
    "bytes that are no text": lambda n: Named(lines=HEADER.encode() + bytes([0xC3, 0x80 + n]) * n + b"\r\n"),
    "another key's place": lambda n: Named({USER: f"key/scope-{n:03}/user/ann"}, in_header(f"key/scope-{n:03}")),
    "our own words": lambda n: Named({USER: ("unnamed", "others", "anyone", "key", "team")[n % 5]}),
    "other gateways' headers": lambda n: Named(lines=in_header(f"user-{n}", line="x-litellm-end-user-id: ")),
    "a forged key": lambda n: Named({META: {"key_id": f"scope-{n:03}", "user_api_key": KEYS[n]}}, in_header(KEYS[n], line="x-key-id: ")),
    "one header twice": lambda n: Named(lines=in_header(f"run-{n}") + in_header(f"walk-{n}")),
    "a header in other letters": lambda n: Named(lines=in_header(f"run-{n}", line="X-SESSION-ID:")),
    "a header with a line below": lambda n: Named(lines=in_header(f"run-{n}", line="x_session_id: ")),
}  # fmt: skip


@pytest.mark.parametrize("name", INVENTED)
def test_a_key_is_let_through_as_often_as_ever_whoever_it_says_that_it_is(scopes: Scopes, name: str) -> None:
    key, asked = scopes.new_key(), len(scopes.provider.asked)
    statuses = scopes.statuses(key, *[INVENTED[name](number) for number in range(12)])
    assert set(statuses) <= {200, 400, 403, 429}
    assert statuses.count(200) == len(scopes.provider.asked) - asked <= OF_KEY


# Requests that name one user or one session in several ways, and how many of five pass.
SAME: dict[str, tuple[list[Named], int]] = {
    "a user in two places": ([Named({USER: "ann"}), Named({SAFETY: "ann"})], OF_USER),
    "the first place counts": ([Named({SAFETY: "ann", USER: "a"}), Named({SAFETY: "ann", USER: "b"})], OF_USER),
    "an empty place does not": ([Named({SAFETY: "", USER: "ann"}), Named({USER: "ann"})], OF_USER),
    "blanks": ([Named({USER: "ann"}), Named({USER: "\t ann\n"})], OF_USER),
    "nobody": ([Named(), Named({USER: ""}), Named({USER: None})], OF_USER),
    "a session in two places": ([Named({USER: "1", META: {"session_id": "r"}}), Named({USER: "2"}, in_header("r"))], OF_SESSION),
    "a header in other letters": ([Named({USER: "1"}, in_header("r")), Named({USER: "2"}, in_header("r", line="X-Session-ID:"))], OF_SESSION),
    "UTF-8 in both": ([Named({USER: "1", META: {"session_id": "é"}}), Named({USER: "2"}, in_header("é"))], OF_SESSION),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_one_name_is_one_scope_wherever_it_stands(scopes: Scopes, name: str) -> None:
    forms, most = SAME[name]
    asked = [forms[number % len(forms)] for number in range(5)]
    assert scopes.statuses(scopes.new_key(), *asked).count(200) == most


def test_nobody_uses_up_what_another_keys_user_or_session_has(scopes: Scopes) -> None:
    attacker, victim = scopes.new_key(), scopes.new_key()
    ann, run = Named({USER: "ann"}), Named({USER: "ben"}, in_header("run-1"))
    scopes.statuses(attacker, *[ann] * 3, *[run] * 3)
    assert scopes.statuses(victim, *[ann] * 3, *[run] * 3) == [200, 200, 429] * 2


def test_who_invents_names_has_the_room_of_its_key_and_others_have_theirs(scopes: Scopes) -> None:
    attacker, victim = scopes.new_key(), scopes.new_key()
    crowd = [Named({USER: f"user-{number}"}) for number in range(ROOM + 1)]
    scopes.statuses(attacker, *crowd)
    assert scopes.ask(attacker, Named({USER: "one more"})).status == 200  # the second of all that share the rest
    assert scopes.statuses(victim, *crowd[:3]) == [200] * 3


REFUSED: dict[str, tuple[list[Named], int, str, str, str | None]] = {
    "a user": ([Named({USER: "ann"})] * (OF_USER + 1), 429, "rate_limit_exceeded", "requests", "false"),
    "a session": ([Named({USER: str(number)}, in_header("r")) for number in range(OF_SESSION + 1)], 403, "session_limit_exceeded", "session_limit", "false"),
    "the key": ([Named({USER: str(number // 2)}) for number in range(OF_KEY + 1)], 429, "rate_limit_exceeded", "requests", "false"),
    "too long": ([Named({USER: "u" * 257})], 400, "string_above_max_length", "invalid_request_error", None),
    "two headers": ([Named(lines=in_header("a") + in_header("b"))], 400, "invalid_value", "invalid_request_error", None),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_says_whose_limit_it_is_and_whether_to_come_again(scopes: Scopes, name: str) -> None:
    named, status, code, kind, again = REFUSED[name]
    key = scopes.new_key()
    refused = [scopes.ask(key, each) for each in named][-1]
    assert (refused.status, refused.error["code"], refused.error["type"]) == (status, code, kind)
    retry = [line.split(b": ")[1] for line in refused.head.lower().split(b"\r\n") if line.startswith(b"x-should-retry")]
    assert retry == ([again.encode()] if again else [])
    assert (b"retry-after:" in refused.head.lower()) == (status == 429)


@pytest.mark.parametrize("session", ["", " ", None, True, [], {"id": "r"}, {}])
def test_where_a_session_must_be_named_nobody_is_refused_for_good(scopes: Scopes, session: Any) -> None:
    named = Named({META: {"session_id": session}}, in_header("", line="x-session-id:"))
    answer = scopes.ask(scopes.new_key(), named, port=scopes.strict)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")


# What a client may say of a deployment.
DEPLOYMENTS: list[dict[str, Any]] = [
    {}, {"rpm": 1000}, {"tpm": 10**9, "max_parallel_requests": 100}, {"deployment": "q"}, {"model_info": {"rpm": 9}}, {"user": "ann"},
    {"metadata": {"deployment": "other", "rpm": "9"}}, {"max_tokens": 1}, {"stream": True},
]  # fmt: skip


def test_no_word_of_a_client_widens_what_a_provider_allows_a_deployment(scopes: Scopes) -> None:
    asked = len(scopes.provider.asked)
    answers = [scopes.ask(scopes.new_key(), Named(more), model="q") for more in DEPLOYMENTS]
    passed = [answer for answer in answers if answer.status == 200]
    assert len(passed) == len(scopes.provider.asked) - asked == QUOTA
    (*_, refused) = [answer for answer in answers if answer.status == 429]
    assert refused.error["code"] == "provider_quota_exceeded"
    assert b"x-ratelimit-limit-requests: %d" % QUOTA not in refused.head.lower()


def test_no_name_stands_in_the_metrics(scopes: Scopes) -> None:
    scopes.ask(scopes.new_key(), Named({USER: "ann-of-the-metrics"}, in_header("run-of-the-metrics")))
    page = send(scopes.port, http(b"/metrics", b"", key=METRICS_TOKEN, method=b"GET"))
    assert page.status == 200
    assert b"of-the-metrics" not in page.body
