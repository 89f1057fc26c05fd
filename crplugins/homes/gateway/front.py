"""What stands before the plugins of the gateway: the prefix of its paths, which is taken off before anybody looks at a
path: what guards a path and what serves it cannot read it differently.
"""

from starlette.types import Scope


def without_prefix(scope: Scope, prefix: str) -> Scope:
    """`/prefix/v1/...` as `/v1/...`, which is served as well: a proxy may keep the prefix or take it off."""
    if "path" not in scope or not (scope["path"] + "/").startswith(prefix + "/"):
        return scope
    scope = {**scope, "path": scope["path"].removeprefix(prefix) or "/"}
    raw = scope.get("raw_path")
    if raw is not None:
        scope["raw_path"] = raw.removeprefix(prefix.encode()) or b"/"
    return scope
