"""How far estimates are from the truth, on recorded answers and on one text in many languages.

CASSETTES=folder python -m tests.bench.estimates

Of recordings the truth is the provider's own count of output tokens. Of an answer that is cut, it is the share of that
count which had been said, by the weight of the text. Of the text it is the count of two tokenizers.
"""

import math
import os
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from crplugins.core.delta import Delta
from crplugins.core.said import Said, weight
from crplugins.core.sse import Splitter
from crplugins.core.wire import Choice
from crplugins.testing.cassettes import Cassette, load_cassettes

CUTS: Final = (0.25, 0.5, 0.75, 1.0)

HIDES: Final = frozenset({"openai-gpt5-moderation", "anthropic-cache-ping"})
"""Recordings that count what they do not show: tokens around an answer of one word, tools that the provider ran."""

TEXTS: Final = {
    "English": ("The meeting has been moved to Thursday because two of the engineers are travelling. Please read the notes before you come, and bring the figures for the last quarter with you.", 34, 34),
    "German": ("Die Besprechung wurde auf Donnerstag verschoben, weil zwei der Ingenieure unterwegs sind. Bitte lesen Sie die Notizen, bevor Sie kommen, und bringen Sie die Zahlen des letzten Quartals mit.", 41, 47),
    "French": ("La réunion a été déplacée à jeudi parce que deux des ingénieurs sont en déplacement. Merci de lire les notes avant de venir et d'apporter les chiffres du dernier trimestre.", 36, 46),
    "Polish": ("Spotkanie przełożono na czwartek, ponieważ dwóch inżynierów jest w podróży. Proszę przeczytać notatki przed przyjściem i przynieść dane z ostatniego kwartału.", 50, 58),
    "Russian": ("Встречу перенесли на четверг, потому что двое инженеров в командировке. Пожалуйста, прочитайте заметки перед приходом и возьмите с собой цифры за последний квартал.", 44, 71),  # noqa: RUF001
    "Greek": ("Η συνάντηση μεταφέρθηκε την Πέμπτη επειδή δύο από τους μηχανικούς ταξιδεύουν. Διαβάστε τις σημειώσεις πριν έρθετε και φέρτε τα στοιχεία του τελευταίου τριμήνου.", 52, 140),  # noqa: RUF001
    "Arabic": ("تم نقل الاجتماع إلى يوم الخميس لأن اثنين من المهندسين في سفر. يرجى قراءة الملاحظات قبل الحضور وإحضار أرقام الربع الأخير معكم.", 36, 85),
    "Hebrew": ("הפגישה הועברה ליום חמישי משום ששניים מהמהנדסים נמצאים בנסיעה. אנא קראו את ההערות לפני שתגיעו והביאו איתכם את נתוני הרבעון האחרון.", 48, 123),
    "Hindi": ("बैठक गुरुवार को रखी गई है क्योंकि दो इंजीनियर यात्रा पर हैं। कृपया आने से पहले नोट्स पढ़ लें और पिछली तिमाही के आंकड़े साथ लाएं।", 42, 133),
    "Thai": ("การประชุมเลื่อนไปเป็นวันพฤหัสบดีเพราะวิศวกรสองคนกำลังเดินทาง กรุณาอ่านบันทึกก่อนมา และนำตัวเลขของไตรมาสที่แล้วมาด้วย", 49, 109),
    "Chinese": ("会议改到星期四,因为有两位工程师正在出差。请在来之前阅读会议记录,并带上上个季度的数据。如果你有任何问题,请提前告诉我们。", 42, 61),
    "Japanese": ("二人のエンジニアが出張中のため、会議は木曜日に変更されました。来る前にメモを読み、前四半期の数字を持ってきてください。", 47, 57),
    "Korean": ("엔지니어 두 명이 출장 중이라 회의가 목요일로 옮겨졌습니다. 오시기 전에 메모를 읽어 주시고 지난 분기의 수치를 가져와 주세요.", 43, 63),
    "Python": ("def totals(rows):\n    result = {}\n    for key, value in rows:\n        if value is None:\n            continue\n        result[key] = result.get(key, 0) + value\n    return result\n", 44, 44),
    "JSON": ('{"city":"Lisbon","days":3,"units":"metric","include":["wind","rain"],"from":"2026-03-01T00:00:00Z"}', 37, 37),
}  # fmt: skip
"""One text, translated, and two that programs read, with their tokens in o200k (GPT-4o and later) and cl100k (GPT-4)."""


class Point(NamedTuple):
    """An estimate of a recording that was cut after a share of it."""

    id: str
    kind: str
    cut: float
    truth: float
    estimate: int
    by_bytes: int

    @property
    def error(self) -> float:
        return abs(self.estimate - self.truth) / self.truth

    @property
    def error_by_bytes(self) -> float:
        return abs(self.by_bytes - self.truth) / self.truth


def points(cassettes: Iterable[Cassette]) -> Iterator[Point]:
    """Each recording with a count of its provider, cut at each of `CUTS`."""
    for cassette in cassettes:
        total = cassette.metering.completion_tokens
        if not cassette.is_stream or cassette.metering.source != "provider" or not total or cassette.id in HIDES:
            continue
        heard = list(_heard(cassette))
        whole = heard[-1][0]
        for cut in CUTS:
            units, tokens, by_bytes = heard[math.ceil(cut * len(heard)) - 1]
            yield Point(cassette.id, _kind(cassette), cut, total * units / whole, tokens, by_bytes)


def _heard(cassette: Cassette) -> Iterator[tuple[int, int, int]]:
    """After each chunk that says something: the weight, the estimate, and a token for four bytes of the delta's JSON."""
    splitter, said, size = Splitter(), Said(), 0
    for event in [*splitter.feed(cassette.data), *filter(None, [splitter.finish()])]:
        choices = (event.answer.choices if event.answer is not None else None) or ()
        size += sum(map(_bytes_of, choices))
        if said.hear(choices):
            yield said.units + said.other, said.tokens(), -(-size // 4)


def _bytes_of(choice: Choice) -> int:
    """What was counted before: text in bytes, everything else as the JSON it is."""
    import msgspec

    delta = choice.delta or Delta()
    words = (delta.content, delta.refusal, delta.reasoning_content or delta.reasoning)
    text = sum(len(w.encode()) if isinstance(w, str) else len(msgspec.json.encode(w)) for w in words if w)
    return text + sum(len(msgspec.json.encode(part)) for part in (delta.tool_calls, delta.function_call) if part)


def _kind(cassette: Cassette) -> str:
    if cassette.expect.tool_calls:
        return "tool calls"
    return "reasoning" if any(cassette.expect.reasoning_len) else "text"


def quantile(errors: Iterable[float], share: float) -> float:
    """The smallest error that this share of all does not exceed."""
    ordered = sorted(errors)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def main() -> None:
    folder = os.environ.get("CASSETTES")
    if folder is not None:
        found = list(points(load_cassettes(Path(folder)).values()))
        print(f"{'recordings':28}{'n':>4}{'median':>9}{'p95':>8}{'| four bytes: median':>22}{'p95':>8}")
        groups = {kind: [p for p in found if p.kind == kind] for kind in ("text", "reasoning", "tool calls")}
        groups |= {f"cut at {cut:.0%}": [p for p in found if p.cut == cut] for cut in CUTS}
        groups |= {"of 40 tokens and more": [p for p in found if p.truth >= 40], "all": found}
        for name, group in groups.items():
            ours, theirs = [p.error for p in group], [p.error_by_bytes for p in group]
            print(
                f"{name:28}{len(group):4}{statistics.median(ours):9.0%}{quantile(ours, 0.95):8.0%}"
                f"{statistics.median(theirs):22.0%}{quantile(theirs, 0.95):8.0%}"
            )
        for point in found:
            if point.cut == 1:
                print(
                    f"  {point.id:28}{point.kind:12} {point.truth:6.0f} estimated {point.estimate}, once {point.by_bytes}"
                )
    print(f"{'text of a whole answer':28}{'o200k':>7}{'cl100k':>8}{'estimate':>10}{'four bytes':>12}")
    for name, (text, o200k, cl100k) in TEXTS.items():
        print(f"{name:28}{o200k:7}{cl100k:8}{-(-weight(text) // 12):10}{-(-len(text.encode()) // 4):12}")
    errors = [abs(weight(text) / 12 - count) / count for text, count, _ in TEXTS.values()]
    once = [abs(len(text.encode()) / 4 - count) / count for text, count, _ in TEXTS.values()]
    print(f"against o200k: median {statistics.median(errors):.0%}, p95 {quantile(errors, 0.95):.0%}; four bytes: "
          f"{statistics.median(once):.0%}, {quantile(once, 0.95):.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
