"""Where the page is, which Auth has to know without the page itself."""

from typing import Final

PATH: Final = "/"
FILES_PATH: Final = "/page"

PUBLIC_PATHS: Final = (PATH, f"{FILES_PATH}/*")
"""Who has no key is told here whom to ask for one."""
