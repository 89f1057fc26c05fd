"""What `serve` prints once it listens."""

from crplugins import __version__
from crplugins.config import Config

_WITH_KEY = """\
crplugins {version} listens on {address} and serves {models}

Key for this run, {reason}:
{key}

curl {address}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \
-d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'

from openai import OpenAI
client = OpenAI(base_url="{address}/v1", api_key="{key}")
answer = client.chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "Hello!"}}])
print(answer.choices[0].message.content)
"""

_WITHOUT_KEY = "crplugins {version} listens on {address} and serves {models}\n"

_NAMED_MODELS = 3


def welcome(address: str, config: Config, run_key: str | None) -> str:
    """The address and, with a key of this run, samples to be pasted as they are. Configured keys are not shown."""
    names = list(dict.fromkeys(entry.model_name for entry in config.model_list))
    text = _WITHOUT_KEY if run_key is None else _WITH_KEY
    return text.format(
        version=__version__,
        address=address,
        models=_enumerate(names),
        key=run_key,
        reason="because the configuration has no 'keys'" if config.source.file else "gone when it ends",
        model=next((name for name in names if "*" not in name), names[0].replace("*", "MODEL")),
    )


def _enumerate(names: list[str]) -> str:
    rest = len(names) - _NAMED_MODELS
    return ", ".join(names[:_NAMED_MODELS]) + (f" and {rest} more" if rest > 0 else "")
