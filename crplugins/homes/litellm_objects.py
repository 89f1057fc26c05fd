"""What litellm's own objects say: the text and the usage of an answer, whether a cache gave it, what served it.

For the homes that are handed these objects where others read JSON: the hooks of LiteLLM's proxy and the SDK's callback.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from crplugins.core.bounded_map import BoundedMap
from crplugins.core.completeness import failure_in
from crplugins.core.delta import Delta
from crplugins.core.exchange import Exchange
from crplugins.core.reported_usage import read_usage
from crplugins.core.said import Said
from crplugins.core.usage import Price, TokenUsage
from crplugins.core.wire import Choice
from crplugins.handlers.litellm.finish import failed
from crplugins.handlers.litellm.sign_in import sign_in_model
from crplugins.handlers.litellm.usage import fields_of, note_provider, plain, usages_of_choice
from crplugins.metering.listed_prices import installed_prices
from crplugins.metering.price_table import prices_for

_METADATA: Final = ("litellm_metadata", "metadata")


def field_of(model: Any, name: str) -> Any:
    """A field of one of litellm's objects, None without it.

    Its chunks keep nearly all in pydantic's extra fields, where `getattr` takes 1 us for what is there and 2 us for
    what is not; for each chunk that adds up to more than all the plugins take.
    """
    try:
        own = model.__dict__
    except AttributeError:  # None, a dict
        return model.get(name) if isinstance(model, dict) else None
    found = own.get(name)
    if found is None and (extra := getattr(model, "__pydantic_extra__", None)):
        return extra.get(name)
    return found


def note_said(exchange: Exchange, choices: Sequence[Any], place: str = "delta") -> None:
    """Keep what is said in `delta` or `message`; the same as `note_facts`, without building its JSON."""
    if exchange.said.hear(_said(choices, place)):
        exchange.timings.token(exchange.clock())
    for choice in choices:
        reason = field_of(choice, "finish_reason")
        if reason is not None:
            exchange.finish_reason = str(reason)


def _said(choices: Sequence[Any], place: str = "delta") -> list[Choice]:
    return [Choice(field_of(choice, "index") or 0, delta=delta_of(field_of(choice, place))) for choice in choices]


def note_answer(exchange: Exchange, answer: Any) -> None:
    """Keep what a whole answer tells of its usage and its bill, and that it is none although it is told as a success.

    litellm calls it `stop` where a model has failed.
    """
    note_usage(exchange, reported_in(answer), answer)
    choices = field_of(answer, "choices") or ()
    failure = failure_in([_ended(choice) for choice in choices])
    if failure is not None:
        exchange.failed(failure)


def _ended(choice: Any) -> Choice:
    return Choice(finish_reason="error" if failed(fields_of(choice)) else None)


def note_chunks(exchange: Exchange, chunks: Sequence[Any]) -> None:
    """Keep what the chunks of a stream say and how they are billed; not what they count."""
    for chunk in chunks:
        note_said(exchange, field_of(chunk, "choices") or ())
    note_bills(exchange, chunks)


def note_bills(exchange: Exchange, chunks: Iterable[Any]) -> None:
    """Keep how the chunks of a stream are billed, without what they count."""
    for chunk in chunks:
        note_bill(exchange, chunk, field_of(chunk, "usage"))


def note_bill(exchange: Exchange, chunk: Any, usage: Any) -> None:
    """Keep what answered, and what a chunk says of its bill besides counts: a tier may stand where no usage does, and
    holds where none comes."""
    if usage is not None or exchange.provider_model is None or field_of(chunk, "service_tier") is not None:
        note_provider(exchange, chunk)


def delta_of(said: Any) -> Delta:
    """A delta or a message of litellm's in the form that every home counts."""
    delta = Delta(field_of(said, "content"), field_of(said, "refusal"))
    for name in _OTHER_WORDS:
        if value := field_of(said, name):
            setattr(delta, name, plain(value))
    return delta


_OTHER_WORDS: Final = tuple(field for field in Delta.__struct_fields__ if field not in ("content", "refusal"))


def reported_in(answer: Any) -> Any:
    """The usage object of an answer or a chunk, from whichever place providers put it; None if nothing is counted.

    litellm writes 0 for a count that is missing, and such an object where there was none.
    """
    return next((usage for usage in _usages(answer) if read_usage(usage).counted() is not None), None)


def _usages(answer: Any) -> Iterator[Any]:
    yield field_of(answer, "usage")
    yield field_of(field_of(answer, "x_groq"), "usage")
    for choice in field_of(answer, "choices") or ():
        yield from usages_of_choice(choice)


def reported_in_chunks(chunks: Sequence[Any]) -> Any:
    """What the provider has reported of a stream, given the chunks that litellm keeps; None if it has not.

    The last report holds: litellm's own sum adds the total up anew, and so loses the output that some providers count
    nowhere else. Only a part of the input that Anthropic's streams have counted at their start, and for which a server
    then writes null or 0, is as it was (`changed_counts`): litellm takes that for the last word.
    """
    last = next((told for chunk in reversed(chunks) if (told := reported_in(chunk)) is not None), None)
    # Where litellm itself puts Anthropic's: all the other places would be looked at for each chunk.
    first = next((told for chunk in chunks if (told := field_of(chunk, "usage")) is not None), None)
    return _with_input_of(first, last)


def _with_input_of(first: Any, last: Any) -> Any:
    """The last report of a stream, with the input of the first one where the last leaves a part of it out."""
    if first is None or first is last or not hasattr(last, "model_copy"):
        return last
    before, now = read_usage(first).counted(), read_usage(last).counted()
    if before is None or now is None or now.input_tokens >= before.input_tokens:
        return last
    if not any(was and not left for was, left in zip(_parts_of_input(before), _parts_of_input(now), strict=True)):
        return last
    counts = {name: told for name in _INPUT_SIDE if (told := field_of(first, name)) is not None}
    output = (field_of(last, "total_tokens") or 0) - (field_of(last, "prompt_tokens") or 0)
    return last.model_copy(update={**counts, "total_tokens": before.input_tokens + output})


def _parts_of_input(usage: TokenUsage) -> tuple[int, int, int]:
    cached, written = usage.cached_input_tokens, usage.cache_write_input_tokens
    return usage.input_tokens - cached - written, cached, written


_INPUT_SIDE: Final = (
    "prompt_tokens",
    "prompt_tokens_details",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


def note_usage(exchange: Exchange, usage: Any, answer: Any = None, *, estimated: bool = False) -> None:
    """Keep the counts of a usage object, where there are some, and what the answer around it says of its bill."""
    counted = read_usage(usage).counted()
    if counted is not None:
        exchange.counted(counted, "estimated" if estimated else "provider")
    if answer is not None:
        note_provider(exchange, answer)


def note_unfinished(exchange: Exchange, chunks: Sequence[Any]) -> None:
    """Keep what the provider had told in these chunks of a stream that has not come to its end, and how early."""
    said = Said()
    first = None
    for chunk in list(chunks):
        said.hear(_said(chunk.choices))
        note_bill(exchange, chunk, field_of(chunk, "usage"))
        if (told := reported_in(chunk)) is not None:
            first = told if first is None else first
            note_usage(exchange, _with_input_of(first, told))
            exchange.counted_to = said.mark()


def is_from_cache(answer: Any) -> bool:
    """Whether litellm's cache gave an answer, or gives a stream."""
    hidden = getattr(answer, "_hidden_params", None)
    return isinstance(hidden, Mapping) and hidden.get("cache_hit") is True


def note_cache(exchange: Exchange) -> None:
    """The answer comes from litellm's cache, in place of the call that had been announced last."""
    if not exchange.from_cache:
        exchange.answered_from_cache()
        if exchange.attempts and exchange.attempts[-1].ended is None:
            exchange.attempts.pop()


class ServingDeployment(NamedTuple):
    """What serves a call: the answer will be this deployment's, and cost what it costs.

    Attributes:
        id: the router's; without a router the provider and the model.
        model: as the provider names it.
    """

    id: str
    provider: str
    model: str
    price: Price | None


def begin_attempt(exchange: Exchange, deployment: ServingDeployment) -> None:
    """This deployment is called now. Of several calls of a request the last one is answered."""
    exchange.begin_attempt(deployment.provider, deployment.id)
    exchange.served_model, exchange.price = deployment.model, deployment.price


class ServingDeployments:
    """The deployment of each call, from the arguments that litellm hands to hooks and log events."""

    def __init__(self) -> None:
        # Bounded: behind a wildcard names come from clients.
        self._known: Final[BoundedMap[Hashable, ServingDeployment]] = BoundedMap()

    def of(self, call: Mapping[str, Any]) -> ServingDeployment:
        info = _model_info(call)
        # Under all that it is made of: what a client has written into a call counts for that call at most.
        prices = {**{name: price for name, price in info.items() if _is_price(name, price)}, **_own_prices(call)}
        model, identity = str(call.get("model") or ""), str(info.get("id") or "")
        provider = call.get("custom_llm_provider") or (call.get("litellm_params") or {}).get("custom_llm_provider")
        key = (identity, model, str(provider or ""), *prices.items())
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _deployment({**info, **prices}, identity, model, str(provider or ""))
        return found


def _deployment(info: Mapping[str, Any], identity: str, model: str, named: str) -> ServingDeployment:
    provider = named or _provider_of(model)
    bare = model.removeprefix(f"{provider}/")
    name = f"{provider}/{bare}"
    try:
        price = prices_for(info, installed_prices)(name)
    except ValueError:  # a price that is none
        price = None
    return ServingDeployment(identity or name, provider, bare, price)


def _provider_of(model: str) -> str:
    if signed := sign_in_model(model):
        return signed[1]
    import litellm

    try:
        return str(litellm.get_llm_provider(model)[1])
    except Exception:  # litellm does not know it either; the call will say so
        return model.partition("/")[0] or "unknown"


def _model_info(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `model_info` of a router's deployment."""
    for holder in (call, call.get("litellm_params") or {}):
        for place in (*(holder.get(name) for name in _METADATA), holder):
            found = place.get("model_info") if isinstance(place, Mapping) else None
            if isinstance(found, Mapping) and found:
                return found
    return {}


def _own_prices(call: Mapping[str, Any]) -> dict[str, float]:
    """Prices that stand beside the model in a deployment's parameters, or in the call itself."""
    return {
        name: price
        for holder in (call.get("litellm_params") or {}, call)
        for name, price in holder.items()
        if _is_price(name, price)
    }


def _is_price(name: str, value: Any) -> bool:
    return ("cost_per_" in name or name.endswith("_token_cost")) and isinstance(value, int | float)


def requested_group(call: Mapping[str, Any]) -> str | None:
    """The name that the caller of a router asked for; None without a router."""
    for name in _METADATA:
        metadata = (call.get("litellm_params") or {}).get(name)
        if isinstance(metadata, Mapping):
            group = metadata.get("original_model_group") or metadata.get("model_group")
            if isinstance(group, str) and group:
                return group
    return None
