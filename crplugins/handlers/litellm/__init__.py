"""The handler for every provider that does not speak OpenAI's wire format itself: litellm translates, we repair.

`handler` is the story of a request. It reads the body with `request`, calls litellm through `client` (which `loading`
has imported), and rebuilds the answer with `answer` or, for a stream, with `stream`, `tap` and `repair`. `usage` and
`errors` turn litellm's counts and exceptions into ours.

`client` takes one of two paths. The slow one is litellm's `acompletion`. The fast one makes the request with `configs`
and sends it with `asking`; `rehearsal` finds out for which requests both are the same, `providers` which providers are
worth the trial, and `survey` made that list. What litellm changes nothing of, a conversation of texts and an answer in
OpenAI's form, does not go through it (`unchanged`); whether that is so for a model, `trial` finds out.
"""
