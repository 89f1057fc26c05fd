"""The demo models by their names. `demo.py`, which answers for one of them, is loaded where it is served."""

from collections.abc import Mapping
from typing import Any, Final

from crplugins.handlers.deployment import Deployment

PROVIDER: Final = "demo"

LITELLM_DEMO: Final = "demo/litellm"
"""The demo model that goes through litellm, for people to see that it is there."""

LITELLM_DEMO_MODEL: Final = "openai/demo"
LITELLM_DEMO_PARAMETERS: Final[Mapping[str, Any]] = {
    "mock_response": "This answer came through litellm, which has asked nobody. Put a model of yours in gateway.yaml."
}
"""How litellm is asked for it: `mock_response` is its own word for an answer without a provider."""


def is_demo(deployment: Deployment) -> bool:
    """Whether the demo model serves the deployment, whichever handler is asked for."""
    return deployment.model.startswith(f"{PROVIDER}/")
