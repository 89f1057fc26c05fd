"""Which requests ask for a chat completion, which are nearly such a request, and which are somebody else's."""

import time
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core import dialects
from crplugins.core.paths import ModelPaths

CHAT = "/v1/chat/completions"
USUAL = ModelPaths()


@pytest.mark.parametrize(
    "path",
    [
        CHAT, "/chat/completions", "/openai/deployments/my gpt-4:1/chat/completions", "/engines/a/b.c/chat/completions",
        "/Tenants/Blue/v1/chat/completions", "/modèle/chat/completions",
    ],
)  # fmt: skip
def test_a_chat_path_has_one_spelling_behind_any_prefix(path: str) -> None:
    assert USUAL.kind("POST", path) is dialects.CHAT
    assert USUAL.kind("GET", path) == USUAL.kind("HEAD", path) == USUAL.kind("OPTIONS", path) == "page"
    assert {USUAL.kind(method, path) for method in ("PUT", "DELETE", "post", "TRACE", "", "POST ")} == {"method"}


@pytest.mark.parametrize("dialect", [each for each in dialects.ALL if each is not dialects.CHAT])
def test_every_other_dialect_has_one_spelling_behind_v1(dialect: dialects.Dialect) -> None:
    for before in ("", "/openai", "/gateway/team a"):
        path = f"{before}/v1{dialect.path}"
        assert USUAL.kind("POST", path) is dialect
        assert USUAL.kind("GET", path) == "page"
        assert USUAL.kind("PUT", path) == "method"
    spellings = (f"/v1{dialect.path}/", f"/v1/{dialect.path}", f"/V1{dialect.path}", f"/v1{dialect.path.title()}")
    for path in (
        *spellings,
        f"/v1/.{dialect.path}",
        f"/v1{dialect.path};a",
        f"/v1{dialect.path}%2F",
        f"/v1%2f{dialect.path[1:]}",
    ):
        assert USUAL.kind("POST", path) == "nearly"
    assert USUAL.kind("POST", f"/v3{dialect.path}") == USUAL.kind("POST", f"/v1{dialect.path}x") == "other"
    for path in dialect.other_paths:
        assert USUAL.kind("POST", path) == USUAL.kind("POST", f"/gateway{path}") == dialect
        assert USUAL.kind("POST", path.upper()) == USUAL.kind("POST", f"{path}/") == "nearly"


def test_a_path_is_named_with_its_dialect() -> None:
    named = ModelPaths({"/ask": "responses", "/tell": "messages"})
    assert named.kind("POST", "/ask") is dialects.RESPONSES
    assert named.kind("POST", "/tell") is dialects.MESSAGES
    assert named.kind("POST", "/Tell/") == "nearly"
    with pytest.raises(ValueError, match="'sonnets' is no dialect; there are chat, "):
        ModelPaths({"/ask": "sonnets"})


def test_a_dialect_that_is_not_meant_has_no_paths() -> None:
    assert ModelPaths(dialects=["messages"]).kind("POST", "/v1/messages") is dialects.MESSAGES
    chat = ModelPaths(dialects=["chat"])
    assert chat.kind("POST", CHAT) is dialects.CHAT
    assert chat.kind("POST", "/v1/responses") == chat.kind("POST", "/v1/Responses/") == "other"


@pytest.mark.parametrize(
    "path",
    [
        # Slashes.
        CHAT + "/", CHAT + "//", "//v1/chat/completions", "/v1//chat/completions", "/v1/chat//completions",
        "v1/chat/completions", "//host/v1/chat/completions", "http://host/v1/chat/completions", "\\v1\\chat\\completions",
        "/v1/chat/\\completions",
        # Dots.
        "/v1/./chat/completions", "/v1/chat/./completions", CHAT + "/.", CHAT + "/..", CHAT + "/x/..",
        "/v1/chat/x/../completions", "/static/../v1/chat/completions", CHAT + ".", CHAT + "...", "/../chat/completions",
        # Case, and what is a letter to somebody.
        "/V1/CHAT/COMPLETIONS", "/v1/Chat/completions", "/v1/chat/complet\u0131ons", "/v1/chat/completion\u017f",
        "/v1/chat/complet\u0130ons", "/v1/\uff43hat/completions", "/v1\uff0fchat\uff0fcompletions",
        "/v1/cha\u0301t/completions", "/v1/chat/\u200bcompletions", "/v1/chat/completions\u00ad",
        # What is cut off or left out.
        CHAT + "\n", CHAT + "\r\n", CHAT + "\r\nx: y", CHAT + "\0", CHAT + "\0.txt", "/v1/ch\0at/completions", CHAT + " ",
        CHAT + "\t", "/v1/ chat/completions", CHAT + "\ufffd", CHAT + chr(0xDCFF), CHAT + "\u2028", CHAT + "?x=y", CHAT + "#x",
        "/a?/chat/completions", "/a#/chat/completions", CHAT + ";a", CHAT + ";a=b/", "/v1;a/chat/completions",
        "/v1/chat;a=b/completions", "/;/v1/chat/completions",
        # What is decoded once more.
        "/v1/chat%2Fcompletions", "/v1/chat%252fcompletions", "/v1/%63hat/completions", "/v1/chat/completions%0a",
        "/v1/chat/completions%20", CHAT + "%", "/v1/chat/completions%3Fx", "/%2e%2e/chat/completions",
        "/v1/chat/x/%2e%2e/completions", "/v1%5Cchat%5Ccompletions", "\uff0525\uff12f/chat/completions",
    ],
)  # fmt: skip
def test_every_other_spelling_is_nearly_one(path: str) -> None:
    assert USUAL.kind("POST", path) == USUAL.kind("PUT", path) == USUAL.kind("get", path) == "nearly"
    assert USUAL.kind("GET", path) == "page"


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "*", "/completions", "/embeddings", "/responses", "/messages", "/v1/responses/resp_1", "/v1/models/gpt-4", CHAT + "/abc",
        CHAT + "/abc/messages", "/v1/chat", "/v1/chat/completions-async", "/v1/chatcompletions", "/v1/chat-completions",
        "/v1/chat/completion", "/completions/chat", "/mcp", "/mcp/messages/", "/a/../b", "/a%2Fb", "/füße", "/a;b=c", "/a//b",
        "/v1/chat/completions/\u6570\u636e", "/notes/about chat completions", "/audio/speech", "/v1/audio", "/.well-known/x",
    ],
)  # fmt: skip
def test_other_paths_are_not_ours(path: str) -> None:
    assert USUAL.kind("POST", path) == USUAL.kind("GET", path) == "other"


def test_the_path_that_came_is_looked_at_too() -> None:
    assert USUAL.kind("POST", "/ask", raw_path=b"/v1/chat/completions") == "nearly"
    assert USUAL.kind("POST", "/ask", raw_path=b"/v1/chat/complet%69ons/") == "nearly"
    assert USUAL.kind("POST", CHAT, raw_path=b"/ask") is dialects.CHAT
    assert USUAL.kind("POST", "/ask", raw_path=b"/ask") == "other"
    assert USUAL.kind("POST", "/f\u00fc", raw_path=b"/f%C3%BC") == "other"


@given(st.text(max_size=40), st.sampled_from(["", "/"]))
def test_what_ends_like_a_chat_path_never_passes(text: str, slash: str) -> None:
    assert USUAL.kind("POST", text + "/chat/completions" + slash) != "other"
    assert USUAL.kind("POST", quote(text) + "/chat/completions" + slash) != "other"


@given(st.sampled_from([CHAT, "/ask", "/tenants/blue/ask"]), st.data())
def test_no_encoding_of_a_path_makes_it_another(path: str, data: st.DataObject) -> None:
    named = ModelPaths(["/ask", "/tenants/{tenant}/ask"])
    text = path
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text = text[:at] + f"%{ord(text[at]):02x}" + text[at + 1 :]
    assert named.kind("POST", text) == "nearly"


def test_a_named_path_is_one_below_the_mount_point() -> None:
    named = ModelPaths(["/ask", "/{tenant}/tell/"])
    for path, root in (("/ask", ""), ("/ai/ask", "/ai"), ("/x/tell/", "")):
        assert named.kind("POST", path, root) is dialects.CHAT
    assert named.kind("POST", "/ai/ask") == "other"
    assert named.kind("PUT", "/ask") == "method"
    assert named.kind("GET", "/ask/") == "page"
    for path in ("/ask/", "/Ask", "//ask", "/x/tell", "/x/tell/;a", "/a/../ask", "/x//tell/"):
        assert named.kind("POST", path) == "nearly"
    assert named.kind("POST", "/ai/ask/", "/ai") == "nearly"
    assert named.kind("POST", "/y/x/tell/") == named.kind("POST", "/tell/") == "other"
    assert named.kind("POST", CHAT) is dialects.CHAT


@pytest.mark.parametrize(
    "piece", ["/a", "/..", "%25", "%2525", "\u0301\u0323", "\ufdfa", "/;", "?", "\0", "a\u0301", "."]
)
def test_the_work_is_linear_and_bounded(piece: str) -> None:
    def seconds(size: int) -> float:
        path = "/completions" + piece * size
        best = float("inf")
        for _ in range(5):
            begun = time.process_time()
            USUAL.kind("POST", path)
            best = min(best, time.process_time() - begun)
        return best

    sizes = [seconds(size) for size in (300, 3_000, 30_000)]
    assert all(larger < 40 * smaller + 0.001 for smaller, larger in pairwise(sizes))
