"""Requests that several tests send."""

HI = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "42"}

EVERYTHING = {
    "model": "m",
    "messages": [
        {"role": "developer", "content": "be brief", "name": "dev"},
        {"role": "system", "content": [{"type": "text", "text": "be kind"}]},
        {"role": "user", "name": "u", "content": [
            {"type": "text", "text": "what is this?", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aa", "detail": "low"}},
            {"type": "input_audio", "input_audio": {"data": "aa", "format": "mp3"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "aa", "file_id": "file-1"}}]},
        {"role": "assistant", "content": None, "tool_calls": [
            CALL, {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "text"}}]},
        RESULT,
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "43"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "refusal": "no", "audio": {"id": "a1"}},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "44"},
    ],
    "temperature": 0.5, "top_p": 1, "n": 2, "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "stop": ["a", "b"], "max_tokens": 5, "presence_penalty": -2, "frequency_penalty": 2, "logprobs": True,
    "top_logprobs": 20,
    "response_format": {"type": "json_schema", "json_schema": {
        "name": "x", "description": "d", "schema": {"type": "object"}, "strict": True}},
    "seed": -3,
    "tools": [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {}, "strict": None}},
        {"type": "custom", "custom": {"name": "g", "description": "d", "format": {
            "type": "grammar", "grammar": {"definition": "start: WORD", "syntax": "lark"}}}}],
    "tool_choice": {"type": "allowed_tools", "allowed_tools": {
        "mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}},
    "user": "u", "max_completion_tokens": 9, "parallel_tool_calls": False, "reasoning_effort": "low",
    "metadata": {"a": "b"}, "store": False, "logit_bias": {"50256": -100}, "service_tier": "auto",
    "verbosity": "low", "modalities": ["text", "audio"], "audio": {"voice": {"id": "v"}, "format": "wav"},
    "prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]},
    "web_search_options": {"search_context_size": "low", "user_location": {
        "type": "approximate",
        "approximate": {"city": "Paris", "country": "FR", "region": "IdF", "timezone": "Europe/Paris"}}},
    "moderation": {"model": "omni", "policy": {"input": {"mode": "score"}, "output": None}},
    "functions": [{"name": "g", "description": "d", "parameters": {}}], "function_call": {"name": "g"},
    "safety_identifier": "s", "prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
    "prompt_cache_retention": "24h",
}  # fmt: skip
"""Each parameter of the schema, at its fullest."""
