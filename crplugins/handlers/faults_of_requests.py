"""What a provider finds wrong with a request that another one might answer: it is too long, a policy forbids it, the
provider has no such model, or it came too soon after others.

Few say so by a code, and each in words of its own. Sources: the providers' pages on errors, and what their SDKs and
clients look for, as of 2026.
"""

import re
from functools import cache
from typing import Final

from crplugins.core.errors import ErrorObject
from crplugins.core.redaction import cut

_TOO_LONG_CODES: Final = frozenset(
    {"context_length_exceeded", "exceed_context_size_error", "context_window_exceeded", "outofcontexterror",
     "model_max_prompt_tokens_exceeded", "tokens_limit_reached", "tokens_too_long", "token_limit_exceeded",
     "prompt_too_long", "input_too_long"}
)  # fmt: skip
"""OpenAI's, llama.cpp's, those of gateways, Volcengine's, GitHub's, Baidu's and OpenRouter's."""


@cache  # compiled with the first one that is asked about
def _too_long() -> re.Pattern[str]:
    return re.compile(
        r"maximum (?:context|prompt|input) length|context (?:length|window|limit|size)"
        r"|(?:prompt|input)(?: tokens?| token length| length)?(?: \([^)]{1,40}\))? (?:is )?too long"
        r"|too many (?:input )?tokens|too large for model"
        r"|exceeds? the (?:model's )?maximum (?:number of (?:input )?tokens|context|input|allowed length)"
        r"|input tokens? exceed|number of input tokens|input token count is|prompt token count|length of prompt_tokens"
        r"|`inputs` (?:tokens|must have less)|tokens? limit exceeded|exceeded model token limit"
        r"|longer than the (?:maximum )?model"
        r"|reduce the length of the (?:messages|input|prompt)|prompt exceeds max length|range of input length should be"
        r"|sum of prompt length|exceed max message tokens|max input characters|prompt 超长",
        re.IGNORECASE,
    )


_FILTERED_CODES: Final = frozenset(
    {"content_policy_violation", "content_policy", "content_filter", "contentfilter", "content_filtered",
     "responsibleaipolicyviolation", "data_inspection_failed", "datainspectionfailed", "sensitive_content", "safety",
     "moderation_blocked", "guardrail_violation", "cyber_policy", "bio_policy"}
)  # fmt: skip
_FILTERED_BY: Final = "sensitivecontentdetected"
"""What stands in Volcengine's codes, after the kind of the content: `InputTextSensitiveContentDetected`."""


@cache  # compiled with the first one that is asked about
def _filtered() -> re.Pattern[str]:
    return re.compile(
        r"content (?:management|filtering|moderation|usage) policy|content policy|usage policy|usage guidelines"
        r"|safety system|safety_check_type|blocked by (?:our )?(?:content|guardrail)|blocked output|content filters?\b"
        r"|flagged (?:as potentially|for|by)|inappropriate content|content (?:exists )?risk|considered high risk"
        r"|sensitive (?:content|information|words)|new_sensitive|responsible ai\b|敏感内容",
        re.IGNORECASE,
    )


_NO_MODEL_CODES: Final = frozenset(
    {"model_not_found", "model_not_exist", "modelnotfound", "model_decommissioned", "model_deprecated", "model_retired",
     "invalid_model", "unknown_model", "deploymentnotfound"}
)  # fmt: skip
"""OpenAI's, those of gateways, Groq's, Mistral's and Perplexity's (a type), GitHub's, Azure's."""


@cache  # compiled with the first one that is asked about
def _lacks_model() -> re.Pattern[str]:
    return re.compile(
        r"\bno (?:such )?model found|\bunknown model\b|\bnot a valid model\b|\binvalid model(?: identifier|:| ['`\"])"
        r"|\bmodel identifier is invalid|模型不存在"
        r"|\bmodel(?: [`'\"]?[^\s`'\"]{1,100}[`'\"]?)? (?:(?:does not|doesn't|not) exist|not found"
        r"|has (?:been (?:decommissioned|deprecated|retired)|reached its end of life))",
        re.IGNORECASE,
    )


_LONGEST_REASON: Final = 2000


@cache  # compiled with the first one that is asked about
def _of_an_account() -> re.Pattern[str]:
    """Who has broken a policy before, and may not ask any more: no matter of this request."""
    return re.compile(r"\baccount\b|\baccess (?:was|has been)\b|terminated|suspended|deactivated", re.IGNORECASE)


_RATE_CODES: Final = frozenset(
    {"rate_limit_exceeded", "rate_limit_error", "rate_limited", "ratelimitexceeded", "ratelimitreached",
     "ratelimiterror", "rpm_rate_limit_exceeded", "tpm_rate_limit_exceeded", "too_many_requests",
     "too_many_requests_error", "toomanyrequests", "throttling", "throttlingexception", "throttling_error",
     "throttling.ratequota", "limit_requests", "resource_exhausted"}
)  # fmt: skip
_MAY_MEAN_TOO_SOON: Final = (400, 403, 422)


@cache  # compiled with the first one that is asked about
def _too_soon() -> re.Pattern[str]:
    """At the beginning, before anything is quoted: what a client has written must send nobody away."""
    return re.compile(
        r"(?:[a-z ]{0,30}error: ?)?[^'\"`:=<>\[{(]{0,60}?"
        r"(?:\brate[ -]?limit(?:s| is| was| has been)? (?:reached|exceeded|hit)\b|\brate[ -]limited\b"
        r"|\b(?:reached|exceeded|hit) (?:(?:your|the|its|our|a) )?(?:[a-z]{1,20} ){0,2}rate limit"
        r"|\btoo many (?:concurrent )?requests\b|\bhigh[ -]frequency\b|\bthrottl(?:ed|ing)\b"
        r"|请求过于频繁|访问过于频繁|速率限制|频率限制)",
        re.IGNORECASE,
    )


_FULL: Final = 498


def is_too_long(status: int, told: ErrorObject) -> bool:
    """Whether the prompt is too long for the model, or the request too large for the provider."""
    return status == 413 or _says(status, told, (400, 422), _TOO_LONG_CODES, _too_long())


def is_forbidden_content(status: int, told: ErrorObject) -> bool:
    """Whether a policy of the provider forbids what the request says."""
    if _FILTERED_BY in (told.code or "").lower():
        return True
    forbids = _says(status, told, (400, 403, 422, 451), _FILTERED_CODES, _filtered())
    return forbids and not (status == 403 and _of_an_account().search(cut(told.message, _LONGEST_REASON)))


def lacks_model(status: int, told: ErrorObject) -> bool:
    """Whether the provider has no model of the name that it was asked for, or has it no longer. NVIDIA says so with a
    410, others with a 400: that is the deployment's fault, as a 404 is, and no request's."""
    return status in (404, 410) or _says(status, told, (400, 422), _NO_MODEL_CODES, _lacks_model())


def status_by_words(status: int, told: ErrorObject, unknown: int) -> int:
    """The status of a refusal that finds fault with the request, by whatever status its provider says so.

    xAI and OpenRouter refuse what a policy forbids with a 403, like a key that is not valid: whoever took it for that
    would send nobody to the deployment for a while. Others answer 200 and have codes of their own: `status` is
    `unknown` then. Groq's 498, whose flexible tier is full, is a 429, which clients try again, and so is a rate limit
    that is told with a 400 or a 403.
    """
    if status == _FULL:
        return 429
    if status == 403 and is_forbidden_content(403, told):
        return 400
    if status == unknown and (is_too_long(400, told) or is_forbidden_content(400, told)):
        return 400
    return 429 if _came_too_soon(status, told, unknown) else status


def _came_too_soon(status: int, told: ErrorObject, unknown: int) -> bool:
    """Whether it is refused for a rate limit, by a status that says something else. No parameter is at fault then."""
    statuses = (*_MAY_MEAN_TOO_SOON, unknown)
    if status not in statuses or told.param or is_too_long(status, told) or is_forbidden_content(status, told):
        return False
    if status == 403 and _of_an_account().search(cut(told.message, _LONGEST_REASON)):
        return False
    return _says(status, told, statuses, _RATE_CODES, _too_soon(), anywhere=False)


def _says(
    status: int,
    told: ErrorObject,
    statuses: tuple[int, ...],
    codes: frozenset[str],
    words: re.Pattern[str],
    *,
    anywhere: bool = True,
) -> bool:
    """The words count only where no code says otherwise: a message may quote what it refuses. And `anywhere` in it, or
    where it begins."""
    code = (told.code or "").lower()
    if code in codes or told.type.lower() in codes:
        return True
    tells = bool(code) and not code.isdigit() and code not in _NO_REASONS
    if status not in statuses or tells:
        return False
    find = words.search if anywhere else words.match
    return find(cut(told.message, _LONGEST_REASON)) is not None


_NO_REASONS: Final = frozenset(
    {"invalid_request_error", "bad_request", "bad_request_error", "badrequest", "invalid_argument",
     "invalid_input_argument", "invalid_parameter_error", "invalidparameter", "invalid_prompt", "validation_error"}
)  # fmt: skip
"""Codes that say no more than the status."""
