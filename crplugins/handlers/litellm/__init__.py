"""The handler for every provider that does not speak OpenAI's wire itself: litellm translates, we repair."""
