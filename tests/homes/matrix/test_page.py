"""The page about homes has the table of the rows and columns here."""

from tests.conftest import CHECKOUT
from tests.homes.matrix.cells import expected_table, written_table
from tests.homes.matrix.rows import ROWS


def test_the_page_about_homes_has_the_same_table() -> None:
    page = (CHECKOUT / "crplugins" / "homes" / "README.md").read_text()
    section = page.partition("\n## What each home can do\n")[2].partition("\n## ")[0]
    assert section, "crplugins/homes/README.md has no section 'What each home can do'"
    assert written_table(section) == expected_table(ROWS)
