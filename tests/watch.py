"""Blocking calls on an event loop, found in every test by one BlockBuster for the whole process.

It patches sixty functions once. Each test that patched them anew took a quarter of its time for that, and every type whose
method is patched has all that Python has cached of it thrown away.
"""

from functools import cache
from typing import Any

from blockbuster import BlockBuster, BlockBusterFunction, BlockingError


class Watch(BlockBuster):
    """Watches code of ours from `activate` to `deactivate`, and while neither is called costs next to nothing.

    Attributes:
        blocked: the blocking calls found; each test brings its own list.
    """

    def __init__(self) -> None:
        super().__init__("crplugins")
        self.blocked: list[str] = []
        self._watching = False
        for function in self.functions.values():
            function.can_block_in(
                "<frozen importlib._bootstrap>", {"_find_and_load"}
            )  # imports may read files anywhere
            function.can_block_in("<frozen linecache>", {"checkcache", "updatecache"})
            function.can_block_in("/linecache.py", {"checkcache", "updatecache"})  # a traceback that is being printed
            function.can_block_in("/logging/__init__.py", {"emit"})  # where to is the application's choice
            self._only_while_watching(function)
        # litellm looks whether SSL_CERT_FILE is there when it makes a client, once per deployment: microseconds.
        self.functions["os.stat"].can_block_in(
            "litellm/llms/custom_httpx/http_handler.py", {"get_ssl_verify", "get_ssl_configuration"}
        )
        # And where its own files are, when it writes an error of a provider to its log.
        for name in ("os.path.abspath", "os.stat"):
            self.functions[name].can_block_in("litellm/litellm_core_utils/bug_report.py", {"_get_litellm_frames"})
        self._allowed = {name: len(function.can_block_functions) for name, function in self.functions.items()}
        BlockingError.__init__ = lambda _error, call: self.blocked.append(call)  # type: ignore[method-assign]
        super().activate()

    def _only_while_watching(self, function: BlockBusterFunction) -> None:
        may_block = function.can_block_predicate

        def not_watched(*args: Any, **kwargs: Any) -> bool:
            return not self._watching or may_block(*args, **kwargs)

        function.can_block_predicate = not_watched

    def activate(self) -> None:
        self._watching = True

    def deactivate(self) -> None:
        self._watching = False

    def forget(self) -> None:
        """What a test has allowed is no longer allowed."""
        for name, function in self.functions.items():
            del function.can_block_functions[self._allowed[name] :]


@cache
def watch() -> Watch:
    """That of this process."""
    return Watch()
