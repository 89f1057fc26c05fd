"""Run: the life of one request, in every home. Pipeline: the list of plugins it runs through.

    run = Run(pipeline, exchange)
    try:
        reply = await run.down()               # on_request, outside in
        run.response()                         # on_response, inside out
        event = run.event(event)               # on_event, inside out, for each event of the answer
        added = run.end()                      # on_end, inside out; run.cut(), on_cut, where it has broken off
        run.conclude(status)                   # how it ended: status, outcome, error type
        await run.ended()                      # on_ended, inside out
    finally:
        run.conclude(None, left=True)          # no effect if it is concluded already
        run.finish()                           # on_finish, inside out, once for each plugin that was entered

A home decides when each of these happens. What happens, and that it happens once, is decided here.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from crplugins.core.errors import GatewayError, internal_error
from crplugins.core.exchange import Exchange, Refusal, Reply
from crplugins.core.log_lines import REQUEST_ID
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event

logger = logging.getLogger("crplugins.plugins")

Faults = Counter[tuple[str, str]]
"""How often a hook failed, by plugin name and hook name."""


def _check(plugin: object) -> None:
    """Raise TypeError for anything but a plugin instance, and say what to write instead."""
    if isinstance(plugin, type) and issubclass(plugin, Plugin):
        raise TypeError(f"plugins holds the class {plugin.__name__}, and needs an instance: {plugin.__name__}(...)")
    if not isinstance(plugin, Plugin):
        raise TypeError(f"plugins holds {plugin!r}, which is no crplugins.Plugin")


class Step:
    """One plugin's place in the pipeline, and which hooks it overrides."""

    __slots__ = (
        "adds", "asks", "finishes", "index", "on_event", "on_finish", "on_request", "on_response", "plugin", "reacts",
        "retries", "rewrites_events", "sees_events", "waits",
    )  # fmt: skip

    def __init__(self, index: int, plugin: Plugin) -> None:
        _check(plugin)
        kind = type(plugin)
        self.index = index
        self.plugin = plugin
        # Bound once: looking a method up for each request or event would make an object each time.
        self.on_request, self.on_response = plugin.on_request, plugin.on_response
        self.on_event, self.on_finish = plugin.on_event, plugin.on_finish
        self.rewrites_events = plugin.rewrites_events
        self.asks = kind.on_request is not Plugin.on_request
        self.reacts = kind.on_response is not Plugin.on_response
        self.retries = kind.on_refused is not Plugin.on_refused
        self.waits = kind.on_ended is not Plugin.on_ended
        self.finishes = kind.on_finish is not Plugin.on_finish
        adds = kind.on_end is not Plugin.on_end or kind.on_cut is not Plugin.on_cut
        overrides = kind.on_event is not Plugin.on_event or adds
        self.adds = adds and plugin.rewrites_events
        self.sees_events = overrides and (plugin.reads_events or plugin.rewrites_events)
        if overrides and not (kind.reads_events or kind.rewrites_events):
            raise TypeError(
                f"{plugin.name} has on_event, on_end or on_cut but declares neither reads_events nor rewrites_events"
            )


class Pipeline:
    """The plugins that apply to one kind of path, outermost first, resolved once into the hooks that will run.

    A list for each hook has the steps that override it, in the order in which they run: `asking_outside` those that ask
    before the body is read, `asking_inside` those that ask after.

    Attributes:
        reads_body_at: the index of the plugin before which the body is read; that after the last one where the body is
            read for the sake of `reads_usage` alone; None where it is not read.
        reads_texts: a plugin must be shown each chunk of a stream, also where only its text is new.
    """

    def __init__(self, plugins: Sequence[Plugin], faults: Faults, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self.steps = [Step(index, plugin) for index, plugin in enumerate(plugins)]
        self.faults = faults
        reads_usage = any(p.reads_usage for p in plugins)
        last = len(self.steps) if reads_usage else None  # nobody asks for the body, but who counts needs what it says
        self.reads_body_at = next((s.index for s in self.steps if s.plugin.reads_body), last)
        self.reads_events = reads_usage or any(p.reads_events or p.rewrites_events for p in plugins)
        self.rewrites_events = any(p.rewrites_events for p in plugins)
        asking = [(s.index + 1, s.on_request, s) for s in self.steps if s.asks]
        reads_at = len(self.steps) if self.reads_body_at is None else self.reads_body_at
        self.asking_outside = [step for step in asking if step[0] <= reads_at]
        self.asking_inside = [step for step in asking if step[0] > reads_at]
        upwards = self.steps[::-1]
        self.reacting = [s for s in upwards if s.reacts]
        self.watching = [(s.on_event, s.rewrites_events, s) for s in upwards if s.sees_events]
        self.watching_chunks = [each for each in self.watching if each[2].plugin.reads_chunks]
        self.reads_texts = any(each[2].plugin.reads_texts for each in self.watching_chunks)
        self.adding = [s for s in upwards if s.adds]
        self.retrying = [s for s in upwards if s.retries]
        self.waiting = [s for s in upwards if s.waits]
        self.finishing = [(s.index, s.on_finish, s) for s in upwards if s.finishes]


_NOBODY: Final[frozenset[Step]] = frozenset()


def _pass_over(_event: Event) -> None:
    """It is heard in another boundary."""


class Run:
    """One request on its way through a pipeline: which plugins it has entered, and how it ends.

    Attributes:
        entered: how many plugins have had their `on_request`, the one that failed in it included.
        concluded: how the request ended is decided.
        waits: it is not, as the provider works on; a home sets it, and takes it back before it concludes.
    """

    __slots__ = ("_finished", "_muted", "concluded", "entered", "exchange", "pipeline", "waits")

    def __init__(self, pipeline: Pipeline, exchange: Exchange) -> None:
        self.pipeline = pipeline
        self.exchange = exchange
        self.entered = 0
        self.concluded = self.waits = False
        self._finished = False
        self._muted: frozenset[Step] = _NOBODY

    async def down(self, read_body: Callable[[], Awaitable[None]] | None = None) -> Reply | None:
        """Run every `on_request`, outermost first. Returns the reply of a plugin that answers by itself, else None.

        `read_body` is awaited where the first plugin needs the body, if the home has not read it before.

        Raises GatewayError: that of a plugin that refuses, or 500 for a bug in one that decides.
        """
        exchange, pipeline = self.exchange, self.pipeline
        REQUEST_ID.set(exchange.id)
        for asking in (pipeline.asking_outside, pipeline.asking_inside):
            if asking is pipeline.asking_inside and pipeline.reads_body_at is not None and read_body is not None:
                self.entered = pipeline.reads_body_at
                await read_body()
            for self.entered, ask, step in asking:
                try:
                    waiting = ask(exchange)
                    if waiting is not None:
                        await waiting
                except Exception as error:
                    self._tolerate(step, "on_request", error)
                if exchange.reply is not None:
                    return exchange.reply
        self.entered = len(pipeline.steps)
        return None

    def response(self) -> None:
        """Run every `on_response`: the status and `exchange.response_headers` are known, and nothing is sent."""
        exchange, entered, muted = self.exchange, self.entered, self._muted
        for step in self.pipeline.reacting:
            if step.index < entered and step not in muted:
                try:
                    step.on_response(exchange)
                except Exception as error:
                    self._tolerate(step, "on_response", error)

    def hearing(self) -> Callable[[Event], None]:
        """What keeps the facts of an event of the answer, once: in one of several boundaries around an app, that which
        the answer reaches first. An app that is called once more is heard by the same one."""
        exchange = self.exchange
        if exchange.heard_in is None:
            exchange.heard_in = self.pipeline
        return exchange.note_facts if exchange.heard_in is self.pipeline else _pass_over

    def event(self, event: Event, within: int | None = None) -> Event | None:
        """The event as it leaves plugin 0, or None if a plugin dropped it.

        Given as it came to the innermost plugin that was entered, or to plugin `within - 1`.
        """
        entered = self.entered if within is None else within
        exchange, muted, pipeline = self.exchange, self._muted, self.pipeline
        watching = pipeline.watching if event.document else pipeline.watching_chunks
        if muted or entered < len(pipeline.steps):
            watching = [each for each in watching if each[2].index < entered and each[2] not in muted]
        for see, rewrites, step in watching:
            try:
                result = see(exchange, event)
            except Exception as error:
                self._tolerate(step, "on_event", error)
                continue
            if rewrites:
                if result is None:
                    return None
                event = result
        return event

    def end(self) -> list[Event]:
        """Events to add at the end of a complete stream, as they leave plugin 0."""
        added: list[Event] = []
        for step in self.pipeline.adding:
            if step.index < self.entered and step not in self._muted:
                added.extend(self._added_by(step, step.plugin.on_end, "on_end"))
        return added

    def cut(self) -> list[Event]:
        """Events to add before the error that ends a broken stream. A plugin that fails adds none: it is broken."""
        added: list[Event] = []
        for step in self.pipeline.adding:
            if step.index < self.entered and step not in self._muted:
                with suppress(GatewayError):
                    added.extend(self._added_by(step, step.plugin.on_cut, "on_cut"))
        return added

    def refused(self, refusal: Refusal) -> bool:
        """Whether one of the plugins wants the app to be called once more."""
        for step in self.pipeline.retrying:
            if step not in self._muted:
                try:
                    if step.plugin.on_refused(self.exchange, refusal):
                        return True
                except Exception as error:
                    self._tolerate(step, "on_refused", error)
        return False

    def conclude(
        self, status: int | None, error: GatewayError | None = None, *, left: bool = False, complete: bool = True
    ) -> None:
        """Decide how the request ended. The first call decides; later calls have no effect.

        Args:
            status: the one the client was sent; None if it was sent none, which is recorded as 499 or 500.
            error: what went wrong, if it is not on the Exchange already.
            left: the client has disconnected.
            complete: the answer came to its end.
        """
        if self.concluded:
            return
        self.concluded = True
        if error is not None:
            self.exchange.failed(error, in_stream=status is not None and status < 400)
        self.exchange.concluded(status, left=left, complete=complete)

    async def ended(self) -> None:
        """Run every `on_ended`; a failing one never keeps the next from running. None while it waits."""
        if self.waits:
            return
        for step in self.pipeline.waiting:
            if step.index < self.entered and step not in self._muted:
                try:
                    await step.plugin.on_ended(self.exchange)
                except Exception as error:
                    self._fault(step, "on_ended", error)

    def finish(self) -> None:
        """Run the `on_finish` of every plugin entered, inside out, once; a failing one never keeps the next from it.

        None while it waits.
        """
        if self._finished or self.waits:
            return
        self._finished = True
        exchange, entered = self.exchange, self.entered
        for index, settle, step in self.pipeline.finishing:
            if index < entered:
                try:
                    settle(exchange)
                except Exception as error:
                    self._fault(step, "on_finish", error)

    def _added_by(self, step: Step, hook: Callable[[Exchange], Iterable[Event]], name: str) -> Iterable[Event]:
        try:
            events = list(hook(self.exchange))
        except Exception as error:
            self._tolerate(step, name, error)
            return
        for event in events:
            outward = self.event(event, within=step.index)
            if outward is not None:
                yield outward

    def _tolerate(self, step: Step, hook: str, error: Exception) -> None:
        """Mute an observer that has failed.

        Raises GatewayError: the plugin's own, or 500 for a bug in a plugin that decides.
        """
        if isinstance(error, GatewayError) and not step.plugin.observes:
            raise error
        self._fault(step, hook, error)
        if not step.plugin.observes:
            raise internal_error("hook_error") from None
        self._muted |= {step}  # not the plugin, which may be unhashable (a dataclass)

    def _fault(self, step: Step, hook: str, error: Exception) -> None:
        self.pipeline.faults[step.plugin.name, hook] += 1
        logger.error("%s.%s failed", step.plugin.name, hook, exc_info=error)
