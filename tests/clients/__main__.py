"""What real clients make of every family's streams.

python -m tests.clients             whatever each client that is here does not read
python -m tests.clients --install   the same, after pip and npm have brought all clients here
python -m tests.clients --write     the table on the page, of what is known of them
"""

import argparse
import asyncio
import logging
import os

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from tests.clients.compare import ask, gateway
from tests.clients.gaps import gaps_of
from tests.clients.installed import CLIENTS, NotInstalled
from tests.clients.page import PAGE, with_table


async def compare(*, install: bool) -> None:
    async with gateway() as url:
        for client in CLIENTS:
            try:
                client.require(install=install)
            except NotInstalled as missing:
                print(f"\n{client.name} {client.version}: {missing}")
                continue
            print(f"\n{client.name} {client.version}")
            for (family, handler), wrong in (await ask(client, url)).items():
                known = dict(gaps_of(client, family, handler))
                for aspect, problem in wrong.items():
                    print(f"  {family} {handler}: {aspect}: {problem}  [{known.get(aspect, 'not known')}]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.write:
        PAGE.write_text(with_table(PAGE.read_text()))
    else:
        logging.disable(logging.CRITICAL)
        asyncio.run(compare(install=options.install))
