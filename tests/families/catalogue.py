"""All families."""

from tests.families import (
    anthropic,
    azure,
    bedrock,
    cohere,
    deepseek,
    glm,
    google_native,
    google_openai,
    groq,
    kimi,
    mistral,
    ollama,
    openrouter,
    self_hosted,
    xai,
)
from tests.families.story import Case, Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for module in (
        google_native, google_openai, anthropic, bedrock, cohere, mistral, deepseek, xai, ollama, openrouter, groq, azure,
        kimi, glm, self_hosted,
    )
    for family in module.FAMILIES
}  # fmt: skip


def find(family: str, case: str) -> Case:
    return next(each for each in FAMILIES[family].cases if each.name == case)
