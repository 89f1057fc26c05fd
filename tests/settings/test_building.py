"""What keeps the building of validators short."""

import os

import pytest
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from crplugins.settings.building import Deferred, without_plugins
from crplugins.settings.json_schema import definitions_of
from crplugins.settings.section import Section


class Inner(Section):
    port: int = Field(default=1, ge=1)

    @field_validator("port")
    @classmethod
    def _as_allowed(cls, port: int, info: ValidationInfo) -> int:
        if info.context is not None and port > info.context:
            raise ValueError("too high")
        return port


class Outer(Section):
    inner: Deferred[Inner] = Inner.without_keys()
    more: tuple[Deferred[Inner], ...] = ()


def test_a_section_that_is_not_written_has_no_validator():
    class Other(Section):
        name: str = ""

    class Around(Section):
        inner: Deferred[Inner] = Inner.without_keys()
        other: Deferred[Other] | None = None

    assert Around.model_validate({"inner": {"port": 2}}).inner == Inner(port=2)
    assert not Other.__pydantic_complete__
    assert Around.model_validate({"other": {"name": "a"}}).other == Other(name="a")
    assert Other.__pydantic_complete__


@pytest.mark.parametrize(
    ("written", "place", "kind"),
    [
        ({"inner": {"port": 0}}, ("inner", "port"), "greater_than_equal"),
        ({"inner": {"prt": 2}}, ("inner", "prt"), "extra_forbidden"),
        ({"inner": 2}, ("inner",), "model_type"),
        ({"more": [{"port": 1}, {"port": "x"}]}, ("more", 1, "port"), "int_parsing"),
    ],
)
def test_what_is_wrong_with_it_has_its_place(written, place, kind):
    with pytest.raises(ValidationError) as told:
        Outer.model_validate(written)
    (details,) = told.value.errors()
    assert (details["loc"], details["type"]) == (place, kind)


def test_it_is_read_in_the_context_of_the_section_around_it():
    assert Outer.model_validate({"inner": {"port": 5}}, context=5).inner.port == 5
    with pytest.raises(ValidationError, match="too high"):
        Outer.model_validate({"inner": {"port": 5}}, context=4)


def test_a_schema_refers_to_it():
    definitions = definitions_of([Outer])
    assert definitions["Outer"]["properties"]["more"]["items"] == {"$ref": "#/$defs/Inner"}
    assert definitions["Inner"]["properties"]["port"]["minimum"] == 1


@pytest.mark.parametrize("before", [None, "", "logfire"])
def test_the_switch_of_plugins_is_as_before_afterwards(monkeypatch, before):
    name = "PYDANTIC_DISABLE_PLUGINS"
    monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv(name, before)
    with pytest.raises(ZeroDivisionError), without_plugins():
        assert os.environ[name] == "__all__"
        raise ZeroDivisionError
    assert os.environ.get(name) == before
