"""LangChain's standard tests of chat models (langchain-tests), through ChatOpenAI in Responses and ChatAnthropic.

BASE_URL, API_KEY, MODEL and MODEL_ALT say of whom. What the tests fetch from the internet is here a few local bytes.
"""

import base64
import os
from typing import Any

import httpx
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

AT = {"api_key": os.environ["API_KEY"], "model": os.environ["MODEL"], "timeout": 60, "max_retries": 0}
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYPj/HwADAgH/p4sN2wAAAABJRU5ErkJggg=="
)
DOCUMENT = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"


def _local(url: str, **_more: Any) -> httpx.Response:
    content = DOCUMENT if str(url).endswith("pdf") else PICTURE
    return httpx.Response(200, content=content, request=httpx.Request("GET", url))


httpx.get = _local


class _Suite(ChatModelIntegrationTests):
    has_tool_choice = supports_image_inputs = supports_image_urls = supports_pdf_inputs = True
    supports_image_tool_message = supports_model_override = True
    model_override_value = os.environ["MODEL_ALT"]


class TestResponses(_Suite):
    chat_model_class = ChatOpenAI
    supports_json_mode = True

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**AT, "base_url": os.environ["BASE_URL"], "use_responses_api": True, "stream_usage": True}


class TestResponsesByTool(TestResponses):
    structured_output_kwargs = {"method": "function_calling"}  # noqa: RUF012


class TestMessages(_Suite):
    chat_model_class = ChatAnthropic
    supports_anthropic_inputs = True

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**AT, "base_url": os.environ["BASE_URL"].removesuffix("/v1"), "max_tokens": 1000}
