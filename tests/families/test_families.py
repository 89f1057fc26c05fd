"""Every family of providers, in every case, through both handlers and before a foreign app: what comes out is right.

What the families send, and what is right, stands in the other files of this folder.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from msgspec.structs import replace

from crplugins import UsageRecord
from tests.families.client import Seen
from tests.families.lab import Answered, Asked, Lab, everything, lab, translated
from tests.families.pending import PENDING
from tests.families.story import Right

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:::litellm", "ignore:::pydantic"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def families() -> AsyncIterator[Lab]:
    async with lab() as opened:
        yield opened


GOOD_ENDS = ("stop", "length", "tool_calls", "function_call", "content_filter")
"""What no failed answer may end with."""


def all_requests() -> list[object]:
    return [pytest.param(asked, id=asked.key, marks=marks_of(asked)) for asked in everything()]


def marks_of(asked: Asked) -> tuple[pytest.MarkDecorator, ...]:
    reason = PENDING.get(asked.key.removeprefix(f"{asked.dialect}."))
    return () if reason is None else (pytest.mark.xfail(reason=reason, strict=True),)


@pytest.mark.parametrize("asked", all_requests())
async def test_a_family_is_understood(families: Lab, asked: Asked) -> None:
    right, answered = asked.case.right_for(streamed=asked.streamed), await families.ask(asked)
    wrong = [*wrong_for_the_client(asked, right, answered), *wrong_in_the_books(asked, right, answered)]
    assert not wrong, "; ".join(wrong)


@pytest.mark.parametrize("asked", [pytest.param(a, id=a.key, marks=marks_of(a)) for a in translated()])
async def test_a_family_is_understood_in_another_protocol(families: Lab, asked: Asked) -> None:
    right, answered = asked.case.right_for(streamed=asked.streamed), await families.ask(asked)
    wrong = [*wrong_for_the_client(asked, right, answered), *wrong_in_the_books(asked, right, answered)]
    assert not wrong, "; ".join(wrong)


async def test_prometheus_counts_what_the_records_say(families: Lab) -> None:
    counted = families.counted()
    for key, record in families.records.by_key.items():
        usage = record.usage
        want = (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.reasoning_output_tokens)
        assert counted.get(key, (0, 0, 0, 0)) == want, key


def wrong_for_the_client(asked: Asked, right: Right, answered: Answered) -> list[str]:
    seen = answered.seen
    if asked.handler == "foreign" and right.failed and not asked.streamed:  # the app's own refusal passes as it is
        return [] if seen.status >= 400 else [f"status {seen.status} for a failure"]
    wrong = [*seen.problems, *wrong_in_the_end(right, seen)]
    if seen.text != right.text:
        wrong.append(f"text {seen.text!r}, not {right.text!r}")
    if seen.reasoning != right.reasoning:
        wrong.append(f"reasoning {seen.reasoning!r}, not {right.reasoning!r}")
    if seen.calls != right.calls:
        wrong.append(f"calls {seen.calls}, not {right.calls}")
    if "" in seen.ids or len(set(seen.ids)) != len(seen.ids):
        wrong.append(f"ids of calls {seen.ids}")
    if asked.streamed and not seen.done:
        wrong.append("no [DONE]")
    if (seen.status == 200) != (asked.streamed or not right.failed):
        wrong.append(f"status {seen.status}")
    return wrong if right.failed else [*wrong, *wrong_in_the_usage_shown(asked, right, answered)]


def wrong_in_the_end(right: Right, seen: Seen) -> list[str]:
    wrong = []
    finishes = [reason for reason in seen.finishes if right.finish or reason in GOOD_ENDS]
    if finishes != ([] if right.finish is None else [right.finish]):
        wrong.append(f"finish reasons {seen.finishes}, not {right.finish}")
    if (seen.error is not None) != right.failed:
        wrong.append(f"error {seen.error}, status {seen.status}")
    return wrong


def wrong_in_the_usage_shown(asked: Asked, right: Right, answered: Answered) -> list[str]:
    assert right.usage is not None, "a whole answer of a family tells its usage"
    want = (right.usage.input_tokens, right.usage.output_tokens)
    if asked.handler != "litellm" and asked.dialect == "chat":
        want = right.shown or want
    shown = [(usage["prompt_tokens"], usage["completion_tokens"]) for usage in answered.seen.usages]
    return [] if shown == [want] else [f"usage shown {shown}, not {want} once"]


def wrong_in_the_books(asked: Asked, right: Right, answered: Answered) -> list[str]:
    record = answered.record
    if right.failed:
        wrong = wrong_of_an_unfinished_answer(right, record) if asked.streamed else []
        if record.outcome != "server_error":
            wrong.append(f"outcome {record.outcome}")
    else:
        wrong = wrong_of_a_whole_answer(right, record)
    used = record.usage.input_tokens + record.usage.output_tokens
    want = (used, 1) if record.usage_source != "none" else (0, answered.limited[1])
    return [*wrong, *([] if answered.limited == want else [f"limits counted {answered.limited}, not {want}"])]


def wrong_of_a_whole_answer(right: Right, record: UsageRecord) -> list[str]:
    used, wrong = record.usage, []
    if not right.thoughts_counted:
        used = replace(used, reasoning_output_tokens=0)
    if used != right.usage or record.usage_source != "provider":
        wrong.append(f"recorded {used} of {record.usage_source}, not {right.usage}")
    if (record.outcome, record.finish_reason) != ("ok", right.finish):
        wrong.append(f"recorded {record.outcome} {record.error_type} {record.finish_reason}, not ok {right.finish}")
    return wrong


def wrong_of_an_unfinished_answer(right: Right, record: UsageRecord) -> list[str]:
    """What the provider had told before is kept; what it had not is estimated."""
    used, told = record.usage, right.usage
    if told is None:
        return [] if used.input_tokens and used.output_tokens else ["nothing counted of what the client got"]
    wrong = []
    if (used.input_tokens, used.cached_input_tokens) != (told.input_tokens, told.cached_input_tokens):
        wrong.append(f"input {used}, not that of {told}")
    if used.output_tokens < told.output_tokens:
        wrong.append(f"output {used}, less than that of {told}")
    return wrong
