"""Errors inside an answer with a 2xx: which objects are one, where OpenAI would have an `error`."""

from typing import Any, Final

import msgspec


def says_something(error: Any) -> bool:
    """Whether the `error` of a chunk is one. Gateways that send a struct of theirs have empty members in each chunk."""
    return any(error.values()) if isinstance(error, dict) else bool(error)


def error_in_answer(data: bytes) -> dict[str, Any] | None:
    """The error that a JSON object without an `error` tells, in OpenAI's words; None where it tells none."""
    try:
        told = _told.decode(data)
    except msgspec.DecodeError:
        return None
    base = told.base_resp if isinstance(told.base_resp, dict) else {}
    code = told.code or told.error_code or base.get("status_code")
    texts = (told.message, told.msg, told.error_msg, base.get("status_msg"), told.details, told.detail)
    message = next((text for text in texts if isinstance(text, str) and text), None)
    if "error" in (told.object, told.type) or (message is not None and (told.detail or _is_failing(code))):
        return {"message": message, "type": told.type, "code": code}
    return None


class _Told(msgspec.Struct):
    """Old vLLM's words have `object`, those of SiliconFlow, DashScope and others a `code` and a text, MiniMax's stand
    in `base_resp`, Baidu's begin with `error_`, and FastAPI's are one `detail`."""

    object: Any = None
    type: Any = None
    code: Any = None
    message: Any = None
    msg: Any = None
    details: Any = None
    detail: Any = None
    base_resp: Any = None
    error_code: Any = None
    error_msg: Any = None


_told: Final = msgspec.json.Decoder(_Told)

_SUCCESSES: Final = frozenset({"", "0", "ok", "success", "succeeded"})


def _is_failing(code: Any) -> bool:
    """Whether this is the code of an error: neither a word nor a number of success."""
    if isinstance(code, bool) or not isinstance(code, int | str):
        return False
    word = str(code).strip().lower()
    return word not in _SUCCESSES and not (len(word) == len("200") and word.isdigit() and word[0] == "2")
