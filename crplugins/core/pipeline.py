"""Pipeline: a list of plugins resolved once, at construction, into the hooks that will run."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence

from crplugins.core.errors import GatewayError, internal_error
from crplugins.core.exchange import Exchange, Refusal
from crplugins.core.plugin import Plugin
from crplugins.core.sse import Event

logger = logging.getLogger("crplugins.plugins")

Faults = Counter[tuple[str, str]]
"""How often a hook failed, by plugin name and hook name."""


class Step:
    """One plugin's place in the pipeline, with only the hooks it overrides."""

    __slots__ = (
        "finishes", "index", "on_event", "on_request", "plugin", "reacts", "retries", "rewrites_events", "sees_events",
        "waits",
    )  # fmt: skip

    def __init__(self, index: int, plugin: Plugin) -> None:
        kind = type(plugin)
        self.index = index
        self.plugin = plugin
        self.on_request = plugin.on_request if kind.on_request is not Plugin.on_request else None
        self.on_event = plugin.on_event
        self.rewrites_events = plugin.rewrites_events
        self.reacts = kind.on_response is not Plugin.on_response
        self.retries = kind.on_refused is not Plugin.on_refused
        self.waits = kind.on_ended is not Plugin.on_ended
        self.finishes = kind.on_finish is not Plugin.on_finish
        overrides = kind.on_event is not Plugin.on_event or kind.on_end is not Plugin.on_end
        self.sees_events = overrides and (plugin.reads_events or plugin.rewrites_events)
        if overrides and not (kind.reads_events or kind.rewrites_events):
            raise TypeError(
                f"{plugin.name} has on_event or on_end but declares neither reads_events nor rewrites_events"
            )


class Pipeline:
    """The plugins that apply to one kind of path, outermost first."""

    def __init__(self, plugins: Sequence[Plugin], faults: Faults, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self.steps = [Step(index, plugin) for index, plugin in enumerate(plugins)]
        self.faults = faults
        self.reads_body_at = next((s.index for s in self.steps if s.plugin.reads_body), None)
        self.reads_events = any(p.reads_events or p.rewrites_events for p in plugins)
        self.rewrites_events = any(p.rewrites_events for p in plugins)
        self._upwards = self.steps[::-1]
        self._reacting = [s for s in self._upwards if s.reacts]
        self._watching = [s for s in self._upwards if s.sees_events]
        self._retrying = [s for s in self._upwards if s.retries]
        self._waiting = [s for s in self._upwards if s.waits]
        self.retries = bool(self._retrying)
        self.waits = bool(self._waiting)
        self._finishing = [s for s in self._upwards if s.finishes]

    def response(self, exchange: Exchange, entered: int) -> None:
        for step in self._reacting:
            if step.index < entered and step not in exchange.muted:
                try:
                    step.plugin.on_response(exchange)
                except Exception as error:
                    self.tolerate(step, "on_response", exchange, error)

    def event(self, exchange: Exchange, event: Event, entered: int) -> Event | None:
        """The event as it leaves plugin 0, given as it came to plugin `entered - 1`; None if one of them dropped it."""
        for step in self._watching:
            if step.index >= entered or (exchange.muted and step in exchange.muted):
                continue
            try:
                result = step.on_event(exchange, event)
            except Exception as error:
                self.tolerate(step, "on_event", exchange, error)
                continue
            if step.rewrites_events:
                if result is None:
                    return None
                event = result
        return event

    def end(self, exchange: Exchange, entered: int) -> list[Event]:
        """Events to add at the end of a complete stream, as they leave plugin 0."""
        added: list[Event] = []
        for step in self._watching:
            if step.index < entered and step.rewrites_events and step not in exchange.muted:
                added.extend(self._added_by(step, exchange))
        return added

    def _added_by(self, step: Step, exchange: Exchange) -> Iterable[Event]:
        try:
            events = list(step.plugin.on_end(exchange))
        except Exception as error:
            self.tolerate(step, "on_end", exchange, error)
            return
        for event in events:
            outward = self.event(exchange, event, step.index)
            if outward is not None:
                yield outward

    def refused(self, exchange: Exchange, refusal: Refusal) -> bool:
        """Whether one of the plugins wants the app to be asked again."""
        for step in self._retrying:
            if step not in exchange.muted:
                try:
                    if step.plugin.on_refused(exchange, refusal):
                        return True
                except Exception as error:
                    self.tolerate(step, "on_refused", exchange, error)
        return False

    async def ended(self, exchange: Exchange, entered: int) -> None:
        """Run every `on_ended`; a failing one never keeps the next from running."""
        for step in self._waiting:
            if step.index < entered and step not in exchange.muted:
                try:
                    await step.plugin.on_ended(exchange)
                except Exception as error:
                    self._fault(step, "on_ended", error)

    def finish(self, exchange: Exchange, entered: int) -> None:
        """Run every `on_finish` owed, in reverse; a failing one never keeps the next from running."""
        for step in self._finishing:
            if step.index < entered:
                try:
                    step.plugin.on_finish(exchange)
                except Exception as error:
                    self._fault(step, "on_finish", error)

    def tolerate(self, step: Step, hook: str, exchange: Exchange, error: Exception) -> None:
        """Mute an observer that has failed.

        Raises GatewayError: the plugin's own, or 500 for a bug in a plugin that decides.
        """
        if isinstance(error, GatewayError) and not step.plugin.observes:
            raise error
        self._fault(step, hook, error)
        if not step.plugin.observes:
            raise internal_error("hook_error") from None
        exchange.muted |= {step}  # not the plugin, which may be unhashable (a dataclass)

    def _fault(self, step: Step, hook: str, error: Exception) -> None:
        self.faults[step.plugin.name, hook] += 1
        logger.error("%s.%s failed", step.plugin.name, hook, exc_info=error)
