"""Providers whose users sign in at a page, with a code that a terminal shows.

litellm begins that as soon as it is asked which provider a model has: it asks the provider for a code, prints it, and
waits a minute for somebody to type it in. It keeps the token in a file. Hence these are known here by their names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple


class _Token(NamedTuple):
    """Where litellm keeps a token: each part has a variable, and what holds where that is not set."""

    folder: tuple[str, str]
    file: tuple[str, str]


_TOKENS: Final = {
    "chatgpt": _Token(("CHATGPT_TOKEN_DIR", "~/.config/litellm/chatgpt"), ("CHATGPT_AUTH_FILE", "auth.json")),
    "github_copilot": _Token(
        ("GITHUB_COPILOT_TOKEN_DIR", "~/.config/litellm/github_copilot"),
        ("GITHUB_COPILOT_ACCESS_TOKEN_FILE", "access-token"),
    ),
}

SIGN_IN_PROVIDERS: Final = frozenset(_TOKENS)


def sign_in_model(model: str, named: object = None) -> tuple[str, str] | None:
    """The name and the provider of a model whose users sign in, None for any other. `named` is a provider as said."""
    provider, slash, name = model.partition("/")
    if isinstance(named, str) and named in _TOKENS:
        return (name if provider == named else model), named
    return (name, provider) if slash and provider in _TOKENS else None


def why_not_signed_in(provider: str, environ: Mapping[str, str]) -> str | None:
    """What is missing, and how it comes; None where a token is kept, whether it still holds or not."""
    token = _TOKENS[provider]
    folder, file = (environ.get(variable) or default for variable, default in (token.folder, token.file))
    try:
        path = Path(folder).expanduser() / file
        if path.is_file():
            return None
    except (OSError, RuntimeError):  # no permission, or nobody's home
        path = Path(folder) / file
    module = f"litellm.llms.{provider}.authenticator"
    return (
        f"nobody has signed in to '{provider}' here, there is no file {path}: sign in once with "
        f'`python -c "from {module} import Authenticator; Authenticator().get_access_token()"`'
    )
