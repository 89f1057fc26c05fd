"""What is not right yet, by request, with the reason."""

PENDING = {
    "cohere.litellm.thinking.plain": "litellm drops the thinking of Cohere's plain answers before anybody else sees it",
}
