"""URLs of Redis and Valkey: one server, the master that Sentinels name, or the node of a cluster that has our keys.

redis://user:password@host:6379/0          rediss:// speaks TLS, unix:///run/redis.sock?db=0 needs no network
redis+sentinel://user:password@host:26379,host:26379/name-of-the-master/0
redis+cluster://user:password@host:6379,host:6379

`valkey` may stand in the place of `redis`. User and password are the servers'; those of Sentinels are
`?sentinel_username=...&sentinel_password=...`. Other query parameters are redis-py's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlencode

from crplugins.core.final_newline import without_final_newline

Node = tuple[str, int]
"""Host and port."""

SCHEMES: Final = ("redis", "rediss", "valkey", "valkeys")
FORMS: Final = tuple(f"{scheme}{kind}://" for scheme in SCHEMES for kind in ("", "+sentinel", "+cluster"))

_URL: Final = re.compile(
    r"(?P<scheme>redis|valkey)(?P<tls>s?)(?:\+(?P<kind>sentinel|cluster))?://"
    r"(?:(?P<auth>[^@/?]*)@)?(?P<hosts>[^/?@]*)(?P<path>/[^?]*)?(?:\?(?P<query>.*))?"
)
_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:,]+))(?::(?P<port>\d{1,5}))?")
_PORTS: Final = {"sentinel": 26379, "cluster": 6379}
_WRONG: Final = "must be the URL of a Redis server, such as redis://host:6379/0"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Where the server is, and what redis-py is told of it.

    Attributes:
        kind: who says which node it is: the URL, Sentinels, or the nodes of the cluster themselves.
        server: what redis-py reads. Of Sentinels and clusters with the first of `seeds` for a server.
        seeds: whom to ask for the node; none where the URL says it.
        master: the name that Sentinels know it by.
        sentinel_user, sentinel_password: for the Sentinels themselves.
    """

    kind: Literal["server", "sentinel", "cluster"]
    server: str = field(repr=False)
    seeds: Sequence[Node] = ()
    master: str = ""
    sentinel_user: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def read_redis_url(text: str) -> RedisUrl:
    """Raises `ValueError`, whose text has no part of the URL."""
    text = without_final_newline(text)
    parts = _URL.fullmatch(text)
    if parts is None:  # unix://, or a password with an @ or / in it, which redis-py reads or refuses
        return RedisUrl("server", re.sub(r"^valkey(s?)://", r"redis\1://", text))
    scheme = f"redis{parts['tls']}"
    if parts["kind"] is None:
        return RedisUrl("server", f"{scheme}://{text.partition('://')[2]}")
    seeds = _nodes(parts["hosts"], _PORTS[parts["kind"]])
    words = dict(parse_qsl(parts["query"] or ""))
    user, password = words.pop("sentinel_username", None), words.pop("sentinel_password", None)
    path = (parts["path"] or "").strip("/")
    host, port = seeds[0]
    where = f"{parts['auth'] + '@' if parts['auth'] else ''}{f'[{host}]' if ':' in host else host}:{port}"
    query = f"?{urlencode(words)}" if words else ""
    if parts["kind"] == "cluster":
        if path not in ("", "0"):
            raise ValueError("must have no database after the hosts of a cluster, which has one")
        return RedisUrl("cluster", f"{scheme}://{where}/0{query}", seeds)
    master, _, database = path.partition("/")
    if not master or not re.fullmatch(r"\d*", database):
        raise ValueError("must name the master that the Sentinels know: redis+sentinel://host:26379/mymaster/0")
    server = f"{scheme}://{where}/{database or 0}{query}"
    return RedisUrl("sentinel", server, seeds, unquote(master), user, password)


def _nodes(hosts: str, port: int) -> Sequence[Node]:
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    if not all(match and 0 < int(match["port"] or port) < 65536 for match in found):
        raise ValueError(_WRONG)
    return [(match["v6"] or match["name"], int(match["port"] or port)) for match in found if match]
