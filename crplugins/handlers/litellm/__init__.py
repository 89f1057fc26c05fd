"""The handler for every provider that does not speak OpenAI's wire format itself: litellm translates, we repair.

`handler` is the story of a request. It reads the body with `request`, calls litellm through `client` (which `loading`
has imported), and rebuilds the answer with `answer` or, for a stream, with `stream`, `tap` and `repair`. `usage` and
`errors` turn litellm's counts and exceptions into ours.
"""
