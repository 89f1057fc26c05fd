"""The plugins inside LiteLLM's own proxy; the configuration is the file in `CRPLUGINS_CONFIG`.

As a callback and as authentication, in the proxy's config.yaml:

    litellm_settings:
      callbacks: ["crplugins.homes.litellm_proxy.callback"]
    general_settings:
      custom_auth: crplugins.homes.litellm_proxy.user_api_key_auth

And around the whole proxy, for what no callback can do (bodies of every 401 and 404, aliases in /v1/models, a limit of
the body, exact endings of streams), beside both lines:

    CONFIG_FILE_PATH=config.yaml uvicorn crplugins.homes.litellm_proxy:app
"""

from typing import TYPE_CHECKING, Any

from crplugins.homes.litellm_proxy.auth import user_api_key_auth
from crplugins.homes.litellm_proxy.callback import ProxyCallback

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    app: ASGIApp

__all__ = ["ProxyCallback", "app", "callback", "user_api_key_auth"]

callback = ProxyCallback()


def __getattr__(name: str) -> Any:
    """`app` is made when a server asks for it: LiteLLM's proxy takes six seconds to import."""
    if name != "app":
        raise AttributeError(name)
    from crplugins.homes.litellm_proxy.entry import proxy_app

    globals()["app"] = made = proxy_app()
    return made
