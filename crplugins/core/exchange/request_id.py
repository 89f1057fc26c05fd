"""new_request_id: what tells one request from all others."""

import time
from random import getrandbits


def new_request_id() -> str:
    """A UUIDv7 (RFC 9562, section 5.7): sorts by time, so a ledger's primary key stays append-only.

    Written out because `uuid.UUID` costs more than everything else the middleware does for a request. Ids are not
    secrets, so the fast generator serves.
    """
    stamp = f"{time.time_ns() // 1_000_000:012x}"
    random = f"{getrandbits(74):019x}"
    return f"{stamp[:8]}-{stamp[8:]}-7{random[:3]}-{'89ab'[int(random[0], 16) & 3]}{random[4:7]}-{random[7:]}"
