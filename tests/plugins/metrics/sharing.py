"""A process that shares its metrics in a folder: `python -m tests.plugins.metrics.sharing CAP` does what it is told.

Each line of its input is a moment and a key, for a request of it, which it says it has counted, or `scrape`: then it prints the input tokens by key.
"""

import json
import sys

from crplugins.plugins.metrics.plugin import Metrics
from tests.plugins.metrics.setup import finished, run, samples


def main(cap: int) -> None:
    metrics = Metrics(["m"], key_cap=cap)
    for line in sys.stdin:
        moment, _, key_id = line.strip().partition(" ")
        if moment == "scrape":
            found = samples(metrics)
            shown = {
                dict(labels).get("key_id"): value
                for (name, labels), value in found.items()
                if name == "crplugins_input_tokens_total"
            }
            print(json.dumps(shown), flush=True)
        else:
            exchange = finished(key_id=key_id)
            exchange.timings.ended = 1_000.0 + float(moment)
            run(metrics, exchange)
            print("counted", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
