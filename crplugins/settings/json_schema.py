"""JSON schemas of sections: what an editor completes, and what the OpenAPI document says of a key."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import DEFAULT_REF_TEMPLATE, models_json_schema

from crplugins.settings.section import Section


def definitions_of(models: Iterable[type[BaseModel]], *, ref_template: str = DEFAULT_REF_TEMPLATE) -> dict[str, Any]:
    """The schemas of `models` and of all that they hold, by name.

    Every section is built before: Pydantic before 2.14 cannot write a default that is a section whose building was
    deferred, and raises TypeError.
    """
    for section in Section.every():
        section.model_rebuild()
    _, document = models_json_schema([(model, "validation") for model in models], ref_template=ref_template)
    definitions: dict[str, Any] = document["$defs"]
    return definitions
