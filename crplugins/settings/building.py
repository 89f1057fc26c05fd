"""What keeps the building of validators short: Pydantic's take 0.1 ms for each key, at every start."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    BaseModel,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationInfo,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import (
    chain_schema,
    with_info_plain_validator_function,
    wrap_serializer_function_ser_schema,
)

_MODEL: Final = "crplugins_model"
_NO_PLUGINS: Final = "PYDANTIC_DISABLE_PLUGINS"


class _WhenWritten:
    """Of a model within another: reads it with its own validator, which is built when there is something to read."""

    def __get_pydantic_core_schema__(self, model: type[BaseModel], _: GetCoreSchemaHandler) -> CoreSchema:
        def read(value: Any, info: ValidationInfo) -> BaseModel:
            return model.model_validate(value, context=info.context)

        return with_info_plain_validator_function(
            read, metadata={_MODEL: model}, serialization=wrap_serializer_function_ser_schema(_dumped)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        model: type[BaseModel] = schema["metadata"][_MODEL]
        return handler(chain_schema([model.__pydantic_core_schema__]))  # of a step it makes a reference


def _dumped(value: BaseModel, dump: SerializerFunctionWrapHandler) -> Any:
    """Before 2.14 Pydantic refuses to dump a default whose model nothing has had built."""
    if not type(value).__pydantic_complete__:
        type(value).model_rebuild()
    return dump(value)


M = TypeVar("M", bound=BaseModel)

Deferred = Annotated[M, _WhenWritten()]
"""A section that few files write. Pydantic would build a validator for it into that of every section around it,
whatever a file says. Reading it takes 7 us more: not for what stands in each of many keys or models."""


@contextmanager
def without_plugins() -> Iterator[None]:
    """Within the block, Pydantic does not look for plugins, which watch the validators of all models: it reads the
    metadata of everything that is installed. A variable of the environment is its only switch, which Typer takes too.
    """
    before = os.environ.get(_NO_PLUGINS)
    os.environ[_NO_PLUGINS] = "__all__"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_NO_PLUGINS]
        else:
            os.environ[_NO_PLUGINS] = before
