"""The reference of the configuration file is written from the models, and is whole."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import Field

from crplugins.config import reference
from crplugins.settings.section import Section


def test_the_page_is_what_the_models_say() -> None:
    assert reference.main(["--check"]) == 0


def test_a_page_that_is_not_up_to_date_is_found_and_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "README.md"
    old.write_text(f"Mine.\n\n{reference.MARK}\n\nOld.\n")
    monkeypatch.setattr(reference, "PAGE", old)
    assert reference.main(["--check"]) == 1
    assert "python -m crplugins.config.reference" in capsys.readouterr().err
    assert "Old." in old.read_text()
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    assert old.read_text().startswith("Mine.\n")
    assert "Old." not in old.read_text()


@pytest.mark.parametrize("place", reference.places(), ids=lambda place: place.path or "top")
def test_every_key_has_a_meaning_and_an_example(place: reference.SectionPlace) -> None:
    """A section is its own example."""
    meanings = reference.meanings(place.model)
    for name in place.model.model_fields:
        assert meanings.get(name, "").endswith("."), f"{place.path}.{name} says nothing"
    values = [name for name, info in place.model.model_fields.items() if not list(reference._sections(info.annotation))]
    shown = [name for name in values if place.model.model_fields[name].examples]
    assert set(values) - set(shown) <= {"after", "file"}  # stand instead of `before`, and of `url` of `prices`


def test_a_section_anywhere_in_a_type_is_found_by_itself() -> None:
    class Inner(Section):
        """What is inside."""

        size: int = Field(default=1, examples=[2])
        """How large."""

    class Outer(Section):
        """What is outside."""

        one: Inner | None = None
        """One."""

        many: Mapping[str, tuple[Inner, ...]] = Field(default_factory=dict)
        """Many."""

        items: tuple[Inner, ...] = ()
        """A list."""

    outer, inner = reference.places(Outer)
    assert (outer.path, inner.path, inner.others) == ("", "one", ["many.NAME[]", "items[]"])
