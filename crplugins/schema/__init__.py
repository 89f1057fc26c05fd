"""The published description of the API: pydantic models of OpenAI's chat completions schema, and the OpenAPI document.

Documentation only. Requests are checked by RequestGuard, which never builds a model of a conversation.
"""

from crplugins.schema.openapi import openapi_document
from crplugins.schema.request import ChatCompletionRequest

__all__ = ["ChatCompletionRequest", "openapi_document"]
