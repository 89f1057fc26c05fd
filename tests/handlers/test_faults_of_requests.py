"""A prompt that is too long, content that a policy forbids, a model that is not there, and a request that comes too soon,
in the words in which each provider refuses them."""

from typing import Any

import pytest

from crplugins.core.errors import GatewayError
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.error_bodies import read_error
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.failures import kind_of, remedy_of
from crplugins.handlers.upstream_errors import upstream_refusal
from crplugins.handlers.whole_answer import WholeAnswers
from crplugins.testing import Script
from tests.handlers.routing.books import books
from tests.handlers.routing.virtual import Scripted, VirtualTime

Words = tuple[str, int, str]

TOO_LONG: list[Words] = [
    ("openai resp", 400, '{"error": {"message": "Your input exceeds the context window of this model. Please adjust your input and try again.", "type": "invalid_request_error", "param": "input", "code": "context_length_exceeded"}}'),
    ("openai resp no code", 400, '{"error": {"message": "Your input exceeds the context window of this model. Please adjust your input and try again.", "type": "invalid_request_error", "param": "input", "code": null}}'),
    ("openai conf", 400, '{"error": {"message": "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens. Please reduce the length of the messages.", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}'),
    ("openai conf nocode", 400, '{"error": {"message": "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.", "type": "invalid_request_error", "param": "messages", "code": null}}'),
    ("anthropic", 400, '{"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 213462 tokens > 200000 maximum"}}'),
    ("anthropic2", 400, '{"type": "error", "error": {"type": "invalid_request_error", "message": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens` and try again"}}'),
    ("anthropic413", 413, '{"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}'),
    ("gemini", 400, '{"error": {"code": 400, "message": "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).", "status": "INVALID_ARGUMENT"}}'),
    ("gemini list", 400, '[{"error": {"code": 400, "message": "The input token count exceeds the maximum number of tokens allowed 1048576.", "status": "INVALID_ARGUMENT"}}]'),
    ("vertex", 400, '{"error": {"code": 400, "message": "Unable to submit request because the input token count is 40000 but model only supports up to 32768. Reduce the input token count and try again.", "status": "INVALID_ARGUMENT"}}'),
    ("bedrock", 400, '{"message": "Input is too long for requested model."}'),
    ("bedrock2", 400, '{"message": "The model returned the following errors: Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try again."}'),
    ("bedrock3", 400, '{"message": "Too many input tokens. Max input tokens: 128000, request input token count: 150000"}'),
    ("mistral", 400, '{"object": "error", "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length", "type": "invalid_request_prompt", "code": "3051"}'),
    ("cohere", 400, '{"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 7000. Try using a shorter prompt."}'),
    ("groq", 413, '{"error": {"message": "Request too large for model `x`", "type": "tokens", "code": "rate_limit_exceeded"}}'),
    ("groq2", 400, '{"error": {"message": "Please reduce the length of the messages or completion.", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}'),
    ("groq nocode", 400, '{"error": {"message": "Please reduce the length of the messages or completion.", "type": "invalid_request_error", "param": "messages"}}'),
    ("together", 422, '{"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 4000 `inputs` tokens and 512 `max_new_tokens`", "type": "invalid_request_error"}}'),
    ("fireworks", 400, '{"error": {"object": "error", "type": "invalid_request_error", "message": "The prompt is too long: 12000, model maximum context length: 8192"}}'),
    ("xai", 400, '{"code": "Client specified an invalid argument", "error": "This model\'s maximum prompt length is 131072 but the request contains 537812 tokens."}'),
    ("zhipu", 400, '{"error": {"code": "1261", "message": "Prompt exceeds max length"}}'),
    ("zhipu cn", 400, '{"error": {"code": "1261", "message": "Prompt 超长"}}'),
    ("zhipu 200", 200, '{"code": 1261, "msg": "Prompt exceeds max length"}'),
    ("dashscope", 400, '{"error": {"code": "invalid_parameter_error", "param": null, "message": "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]", "type": "invalid_request_error"}}'),
    ("dashscope2", 400, '{"code": "InvalidParameter", "message": "Range of input length should be [1, 30720]", "request_id": "x"}'),
    ("moonshot", 400, '{"error": {"message": "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)", "type": "invalid_request_error"}}'),
    ("moonshot2", 400, '{"error": {"message": "Input token length too long", "type": "invalid_request_error"}}'),
    ("minimax", 400, '{"type": "error", "error": {"type": "bad_request_error", "message": "invalid params, context window exceeds limit (2013)", "http_code": "400"}}'),
    ("openrouter", 400, '{"error": {"message": "This endpoint\'s maximum context length is 163840 tokens. However, you requested about 200000 tokens (190000 of text input, 10000 in the output).", "code": 400}}'),
    ("ollama", 400, '{"error": {"message": "prompt too long; exceeded max context length by 10 tokens", "type": "invalid_request_error", "param": null, "code": null}}'),
    ("ollama2", 400, '{"error": "the input length exceeds the context length"}'),
    ("llamacpp", 400, '{"error": {"code": 400, "message": "the request exceeds the available context size, try increasing it", "type": "exceed_context_size_error", "n_prompt_tokens": 5000, "n_ctx": 4096}}'),
    ("llamacpp new", 400, '{"error": {"code": 400, "message": "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it", "type": "invalid_request_error"}}'),
    ("vllm", 400, '{"object": "error", "message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that `max_model_len` is no smaller than the number of text tokens plus multimodal tokens.", "type": "BadRequestError", "param": null, "code": 400}'),
    ("vllm new", 400, '{"error": {"message": "Input length (5000) exceeds model\'s maximum context length (4096).", "type": "BadRequestError", "param": "input_tokens", "code": 400}}'),
    ("vllm new2", 400, '{"error": {"message": "You passed 5000 input tokens and requested 100 output tokens. However, the model\'s context length is only 4096 tokens, resulting in a maximum input length of 3996 tokens. Please reduce the length of the input prompt.", "type": "BadRequestError", "param": "input_tokens", "code": 400}}'),
    ("vllm max", 400, '{"object": "error", "message": "\'max_tokens\' or \'max_completion_tokens\' is too large: 9000. This model\'s maximum context length is 8192 tokens and your request has 100 input tokens (9000 > 8192 - 100).", "type": "BadRequestError", "code": 400}'),
    ("sglang", 400, '{"object": "error", "message": "The input (5000 tokens) is longer than the model\'s context length (4096 tokens).", "type": "BadRequestError", "code": 400}'),
    ("sglang2", 400, '{"object": "error", "message": "Requested token count exceeds the model\'s maximum context length of 4096 tokens. You requested a total of 5000 tokens", "type": "BadRequestError", "code": 400}'),
    ("sglang3", 400, '{"object": "error", "message": "Input length (5000 tokens) exceeds the maximum allowed length (4090 tokens). Use a shorter input or enable --allow-auto-truncate.", "type": "BadRequestError", "code": 400}'),
    ("tgi", 422, '{"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500", "error_type": "validation"}'),
    ("trtllm", 400, '{"object": "error", "message": "Prompt length (5000) exceeds maximum input length (2048)", "type": "BadRequestError", "code": 400}'),
    ("trtllm2", 400, '{"object": "error", "message": "The sum of prompt length (4097.0) and query length max_tokens should not exceed max_num_tokens (4096)", "type": "BadRequestError"}'),
    ("lmstudio", 400, '{"error": "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough. Try to load the model with a larger context length, or provide a shorter input"}'),
    ("lmstudio2", 400, '{"error": "The number of tokens to keep from the initial prompt is greater than the context length."}'),
    ("cerebras", 400, '{"message": "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}'),
    ("databricks", 400, '{"error_code": "BAD_REQUEST", "message": "{\\"error\\":{\\"message\\":\\"prompt token count (40000) cannot exceed 32768\\"}}"}'),
    ("watsonx", 400, '{"errors": [{"code": "invalid_input_argument", "message": "Invalid input argument for Model \'x\': the number of input tokens 5000 cannot exceed the total tokens limit 4096 for this model"}], "trace": "x", "status_code": 400}'),
    ("copilot", 400, '{"error": {"message": "prompt token count of 140000 exceeds the limit of 128000", "code": "model_max_prompt_tokens_exceeded"}}'),
    ("gh models", 413, '{"error": {"code": "tokens_limit_reached", "message": "Request body too large for gpt-4o model. Max size: 8000 tokens."}}'),
    ("doubao", 400, '{"error": {"code": "InvalidParameter", "message": "Total tokens of image and text exceed max message tokens. Request id: x", "param": "", "type": "BadRequest"}}'),
    ("doubao2", 400, '{"error": {"code": "OutofContextError", "message": "The request failed because the input is too long.", "type": "BadRequest"}}'),
    ("baidu2", 400, '{"error": {"code": "tokens_too_long", "message": "Prompt tokens too long", "type": "invalid_request_error"}}'),
    ("bigmodel z.ai", 400, '{"error": {"code": "1210", "message": "API 调用参数有误 请检查文档 Request 270000 input tokens exceeds the model\'s maximum context length 202750"}}'),
    ("inflight bedrock mantle", 400, '{"error": {"message": "input too long: 300000 input tokens, limit is 200000", "type": "invalid_request_error", "code": "validation_error"}}'),
    ("deepinfra", 400, '{"error": {"message": "This model\'s maximum context length is 32768 tokens. However, you requested 40000", "type": "invalid_request_error", "code": "invalid_prompt"}}'),
    ("siliconflow", 400, '{"code": 20015, "message": "length of prompt_tokens (40000) must be less than max_seq_len (32768).", "data": null}'),
    ("sambanova", 400, '{"error": {"code": "context_length_exceeded", "message": "x"}}'),
    ("hyperbolic", 400, '{"object": "error", "message": "Input prompt (5000 tokens) is too long and exceeds limit of 4096", "type": "BadRequestError"}'),
]  # fmt: skip

FORBIDDEN: list[Words] = [
    ("azure", 400, '{"error": {"message": "The response was filtered due to the prompt triggering Azure OpenAI\'s content management policy.", "type": null, "param": "prompt", "code": "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}}'),
    ("openai invalid_prompt", 400, '{"error": {"message": "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a different prompt", "type": "invalid_request_error", "param": null, "code": "invalid_prompt"}}'),
    ("openai img", 400, '{"error": {"message": "Your request was rejected by the safety system. If you believe this is an error, contact us", "type": "image_generation_user_error", "param": null, "code": "moderation_blocked"}}'),
    ("openai cyber", 400, '{"error": {"message": "This content was flagged for possible cybersecurity risk.", "type": "invalid_request_error", "code": "cyber_policy"}}'),
    ("openai bio", 400, '{"error": {"message": "This request has been flagged for potentially high-risk biology", "type": "invalid_request_error", "code": "bio_policy"}}'),
    ("anthropic", 400, '{"type": "error", "error": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"}}'),
    ("xai 403", 403, '{"code": "The caller does not have permission to execute the specified operation", "error": "Content violates usage guidelines. Team: x, API key ID: y, Model: grok-4, Failed check: SAFETY_CHECK_TYPE_BIO"}'),
    ("openrouter 403", 403, '{"error": {"message": "\\"openai/gpt-4o\\" requires moderation on OpenAI. Your input was flagged for \\"violence\\". No credits were charged.", "code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "x", "provider_name": "OpenAI"}}}'),
    ("dashscope", 400, '{"error": {"code": "data_inspection_failed", "param": null, "message": "Input data may contain inappropriate content.", "type": "data_inspection_failed"}}'),
    ("dashscope2", 400, '{"code": "DataInspectionFailed", "message": "Output data may contain inappropriate content."}'),
    ("deepseek", 400, '{"error": {"message": "Content Exists Risk", "type": "invalid_request_error", "param": null, "code": "invalid_request_error"}}'),
    ("zhipu", 400, '{"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}, "contentFilter": [{"level": 1, "role": "user"}]}'),
    ("zhipu en", 400, '{"error": {"code": "1301", "message": "System detected potentially unsafe or sensitive content in input or generation. Please avoid using prompts that may generate sensitive content."}}'),
    ("moonshot", 400, '{"error": {"message": "The request was rejected because it was considered high risk", "type": "content_filter"}}'),
    ("minimax 1026", 200, '{"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}'),
    ("minimax 400", 400, '{"type": "error", "error": {"type": "bad_request_error", "message": "input new_sensitive (1026)"}}'),
    ("cohere", 400, '{"message": "blocked output: please try rephrasing your prompt or adjusting the prompt (or response) preamble."}'),
    ("vertex", 400, '{"error": {"code": 400, "message": "The prompt could not be submitted. This prompt contains sensitive words that violate Google\'s Responsible AI practices. Try rephrasing the prompt.", "status": "INVALID_ARGUMENT"}}'),
    ("volcengine", 400, '{"error": {"code": "InputTextSensitiveContentDetected", "message": "The request failed because the input text may contain sensitive information.", "type": "BadRequest"}}'),
    ("volcengine2", 400, '{"error": {"code": "SensitiveContentDetected", "message": "The request failed because the input text may contain sensitive information.", "type": "BadRequest"}}'),
    ("mistral", 403, '{"object": "error", "message": "The input was blocked by guardrails", "type": "guardrail_violation"}'),
    ("bedrock legacy", 400, '{"message": "The provided prompt was blocked by our content filters. It may conflict our AUP or AWS Responsible AI Policy."}'),
    ("azure img", 400, '{"error": {"code": "contentFilter", "message": "Your task failed as a result of our safety system."}}'),
    ("github", 400, '{"error": {"message": "The response was filtered due to the prompt triggering Azure OpenAI\'s content management policy", "code": "content_filter"}}'),
]  # fmt: skip

NEITHER: list[Words] = [
    ("user too long", 400, '{"error": {"message": "Invalid \'user\': string too long. Expected a string with maximum length 64, but got a string with length 100 instead.", "code": "string_above_max_length", "param": "user"}}'),
    ("openai max_tokens", 400, '{"error": {"message": "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.", "code": "invalid_value", "param": "max_tokens"}}'),
    ("forbidden", 403, '{"error": {"message": "You do not have access to this model", "code": "forbidden"}}'),
    ("region", 403, '{"error": {"message": "Country, region, or territory not supported", "code": "unsupported_country_region_territory"}}'),
    ("img", 400, '{"error": {"message": "Could not process image"}}'),
    ("policy word", 400, '{"error": {"message": "Unknown parameter: \'policy\'."}}'),
    ("401", 401, '{"error": {"message": "bad key"}}'),
    ("sens", 400, '{"error": {"message": "Invalid value: \'sensitive\'. Field names are case sensitive.", "code": "invalid_value"}}'),
    ("account", 403, '{"error": {"message": "Your account was suspended for violations of our usage policy.", "type": "x"}}'),
]  # fmt: skip


NO_MODEL: list[Words] = [
    ("openai", 404, '{"error": {"message": "The model `gpt-9` does not exist or you do not have access to it.", "type": "invalid_request_error", "param": null, "code": "model_not_found"}}'),
    ("nvidia", 410, '{"type": "about:blank", "title": "Gone", "status": 410, "detail": "The model \'z-ai/glm4.7\' has reached its end of life on 2026-05-14T00:00:00Z and is no longer available."}'),
    ("groq", 400, '{"error": {"message": "The model `mixtral-8x7b` has been decommissioned and is no longer supported.", "type": "invalid_request_error", "code": "model_decommissioned"}}'),
    ("openrouter", 400, '{"error": {"message": "deepseek/deepseek-v9 is not a valid model ID", "code": 400}, "user_id": "u"}'),
    ("deepseek", 400, '{"error": {"message": "Model Not Exist", "type": "invalid_request_error", "param": null, "code": "invalid_request_error"}}'),
    ("mistral", 400, '{"object": "error", "message": "Invalid model: mistral-huge", "type": "invalid_model", "param": null, "code": "1500"}'),
    ("routeway", 400, '{"error": {"message": "No model found: kimi-k1"}}'),
    ("siliconflow", 400, '{"code": 20012, "message": "Model does not exist. Please check it carefully.", "data": null}'),
    ("perplexity", 400, '{"error": {"message": "Invalid model \'sonar-mega\'. Permitted models can be found in the documentation.", "type": "invalid_model", "code": 400}}'),
    ("bedrock", 400, '{"message": "The provided model identifier is invalid."}'),
    ("github", 400, '{"error": {"code": "unknown_model", "message": "Unknown model: gpt-9", "details": "Unknown model: gpt-9"}}'),
    ("zhipu", 400, '{"error": {"code": "1211", "message": "模型不存在"}}'),
    ("gone", 410, ""),
]  # fmt: skip

NO_FAULT_OF_A_DEPLOYMENT: list[Words] = [
    ("tool", 400, '{"error": {"message": "Tool get_model not found in the list of tools."}}'),
    ("feature", 400, '{"error": {"message": "Image input is not supported with this model.", "code": "unsupported_value"}}'),
    ("quoted", 400, '{"error": {"message": "Invalid value: \'no model found\'.", "code": "invalid_value"}}'),
    ("deprecated", 400, '{"error": {"message": "temperature is deprecated for this model."}}'),
    ("modality", 400, '{"error": {"message": "This model does not support the modality."}}'),
]  # fmt: skip


TOO_SOON: list[Words] = [
    ("words", 400, '{"error": {"message": "Rate limit exceeded, please slow down.", "type": "invalid_request_error", "code": null}}'),
    ("reached", 400, '{"error": {"message": "Error: you have exceeded your current rate limit", "type": "invalid_request_error", "code": 400}}'),
    ("many", 400, '{"message": "Too many requests, please wait before trying again."}'),
    ("mimo", 400, '{"error": {"code": "400", "message": "Detected high-frequency non-compliant requests from you.", "param": ""}}'),
    ("chinese", 400, '{"error": {"code": "400", "message": "您的账户已达到速率限制"}}'),
    ("relay", 400, '{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}'),
    ("type", 422, '{"error": {"message": "slow down", "type": "rate_limit_error"}}'),
    ("bedrock", 400, '{"message": "Request throttled", "code": "ThrottlingException"}'),
    ("github", 403, '{"error": {"message": "API rate limit exceeded for user ID 1."}}'),
    ("minimax", 200, '{"base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded"}}'),
    ("baidu", 200, '{"error_code": 336501, "error": {"code": "rpm_rate_limit_exceeded", "message": "Rate limit reached for RPM"}}'),
]  # fmt: skip

NOT_TOO_SOON: list[Words] = [
    ("quoted", 400, '{"error": {"message": "Invalid value: \'rate limit exceeded\'.", "type": "BadRequestError", "code": 400}}'),
    ("field", 400, '{"error": {"message": "Rate limit exceeded", "param": "tools[0].name", "code": null}}'),
    ("extra", 422, '{"detail": [{"loc": ["body", "rate limit exceeded"], "msg": "Extra inputs are not permitted"}]}'),
    ("named", 400, '{"error": {"message": "Unknown parameter: rate limit exceeded", "code": null}}'),
    ("coded", 400, '{"error": {"message": "Rate limit exceeded", "code": "invalid_value"}}'),
]  # fmt: skip


def refusal_of(status: int, body: str) -> GatewayError:
    """What a client is told of it, by whatever status it was told."""
    if status == 200:
        return WholeAnswers("d", ()).no_completion(body.encode(), {})
    return upstream_refusal(status, read_error(body.encode()), {}, deployment="d")


@pytest.mark.parametrize(("status", "body"), [row[1:] for row in TOO_LONG], ids=[row[0] for row in TOO_LONG])
def test_a_prompt_that_is_too_long_is_for_another_model_in_the_words_of_each(status: int, body: str) -> None:
    refusal = refusal_of(status, body)
    assert (remedy_of(refusal), refusal.status in (400, 413, 422)) == ("another_model", True)


@pytest.mark.parametrize(("status", "body"), [row[1:] for row in FORBIDDEN], ids=[row[0] for row in FORBIDDEN])
def test_forbidden_content_is_the_fault_of_the_request_in_the_words_of_each(status: int, body: str) -> None:
    refusal = refusal_of(status, body)
    assert (remedy_of(refusal), refusal.status) == ("content_policy", 400)


@pytest.mark.parametrize(("status", "body"), [row[1:] for row in NEITHER], ids=[row[0] for row in NEITHER])
def test_any_other_refusal_is_neither(status: int, body: str) -> None:
    assert remedy_of(refusal_of(status, body)) not in ("another_model", "content_policy")


@pytest.mark.parametrize(("status", "body"), [row[1:] for row in NO_MODEL], ids=[row[0] for row in NO_MODEL])
def test_a_model_that_a_provider_does_not_have_is_for_another_deployment_in_the_words_of_each(
    status: int, body: str
) -> None:
    refusal = refusal_of(status, body)
    assert (remedy_of(refusal), kind_of(refusal), refusal.status) == ("another", "NotFoundError", status)


@pytest.mark.parametrize(
    ("status", "body"),
    [row[1:] for row in NO_FAULT_OF_A_DEPLOYMENT],
    ids=[row[0] for row in NO_FAULT_OF_A_DEPLOYMENT],
)
def test_what_a_model_cannot_do_is_no_lack_of_the_model(status: int, body: str) -> None:
    assert remedy_of(refusal_of(status, body)) == "none"


@pytest.mark.parametrize(("status", "body"), [row[1:] for row in NO_MODEL], ids=[row[0] for row in NO_MODEL])
def test_what_a_client_writes_for_a_star_sends_no_deployment_away(status: int, body: str) -> None:
    handler, refusal = Scripted(VirtualTime()), refusal_of(status, body)
    assert Candidate(Deployment("m", "openai/m"), handler).is_at_fault(refusal)
    assert not Candidate(Deployment("m-*", "openai/m-*"), handler).is_at_fault(refusal)


@pytest.mark.parametrize(("status", "body"), [row[1:] for row in TOO_SOON], ids=[row[0] for row in TOO_SOON])
def test_a_rate_limit_that_is_told_by_another_status_is_a_429(status: int, body: str) -> None:
    refusal = refusal_of(status, body)
    assert (refusal.status, refusal.error_type) == (429, "upstream_429")
    assert (remedy_of(refusal), kind_of(refusal)) == ("another", "RateLimitError")


@pytest.mark.parametrize(("status", "body"), [row[1:] for row in NOT_TOO_SOON], ids=[row[0] for row in NOT_TOO_SOON])
def test_what_a_client_has_written_is_no_rate_limit(status: int, body: str) -> None:
    refusal = refusal_of(status, body)
    assert (refusal.status, remedy_of(refusal)) == (status, "none")


def test_too_many_requests_of_an_account_that_is_suspended_are_no_rate_limit() -> None:
    refusal = refusal_of(403, '{"error": {"message": "Too many requests: your account was suspended."}}')
    assert refusal.error_type == "upstream_auth"


def test_a_full_tier_of_groqs_is_a_rate_limit() -> None:
    refusal = refusal_of(498, '{"error": {"message": "Flex tier is at capacity.", "code": "capacity_exceeded"}}')
    assert (refusal.status, refusal.error.type, refusal.error.code) == (429, "requests", "capacity_exceeded")
    assert (remedy_of(refusal), kind_of(refusal)) == ("another", "RateLimitError")


@pytest.mark.parametrize("handler", ["direct", "litellm"])
async def test_content_that_a_policy_forbids_with_a_403_sends_no_deployment_away(serve: Any, handler: str) -> None:
    async with books(serve, (handler,)) as kept:
        message = "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"
        kept.providers[0].enqueue(*[Script.error(403, message)] * 5)
        for _ in range(5):
            answer = await kept.gateway.post()
            assert answer.status == 400, answer.text
        assert (await kept.gateway.post()).status == 200
        assert kept.calls == [6]
