"""Every key that LiteLLM's proxy documents, or that its models and code read, and what becomes of it here.

A name counts where it stands by itself; else the first row of its section with a name that fits, where `*` stands for
any text. What stands below a key shares its fate.

    honoured  it counts, under the same name and with the same meaning, or what it asks for is always so here
    mapped    it counts, as the key of ours that the text names
    warned    it does not count; a warning names it, and says what to write instead
    refused   it does not count, and nothing does in its place: the text says why

Sections: `file` is the top level, `entry` an entry of `model_list`, `litellm_params` and `model_info` stand in one.
https://docs.litellm.ai/docs/proxy/config_settings
"""

from typing import Final

from crplugins.config.litellm.keys.general_settings import GENERAL
from crplugins.config.litellm.keys.group import KeyGroup
from crplugins.config.litellm.keys.litellm_settings import LITELLM
from crplugins.config.litellm.keys.models import MODELS
from crplugins.config.litellm.keys.router_settings import ROUTER

KEYS: Final[tuple[KeyGroup, ...]] = (*MODELS, *ROUTER, *LITELLM, *GENERAL)
