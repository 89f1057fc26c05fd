"""What an entry of `plugins` gives the constructor of its class: checked by the constructor's own signature."""

import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from crplugins.core.plugin import Plugin
from crplugins.settings.errors import Problem, did_you_mean
from crplugins.settings.section import Number, Whole
from crplugins.settings.wrong_values import wrong_values

Parameters = Mapping[str, Parameter]

_PLAIN: Final[Mapping[Any, Any]] = {int: Whole, float: Number, str: str, bool: bool, Any: Any}
_CONTAINERS: Final = (list, tuple, dict, Sequence, Mapping)
_HIDDEN: Final = ConfigDict(hide_input_in_errors=True)


class OptionsRefused(ValueError):
    """Options that a class does not take. The paths of `problems` begin with the option's name."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problem.sentence(None) for problem in problems))


def make_plugin(kind: type[Plugin], options: Mapping[str, Any]) -> Plugin:
    """The plugin, with `options` as keywords of its constructor.

    Unknown and missing ones are found by its signature, wrong values by its annotations, as far as these say what YAML
    can hold (text, numbers, true and false, lists and mappings of them). The rest is the constructor's to judge: a
    ValueError that begins with an option's name is reported at that option's line.

    Raises `OptionsRefused`.
    """
    keywords = _checked(kind.__name__, _parameters(kind), options)
    try:
        return kind(**keywords)
    except Exception as error:  # the constructor of somebody else's class
        text = _without_values(f"{type(error).__name__}: {error}", options)
        blamed = str(error).partition(" ")[0].strip("'\"`:")
        if blamed in options:
            raise OptionsRefused([Problem((blamed,), f"{kind.__name__} does not take it ({text})")]) from None
        raise OptionsRefused([Problem((), f"{kind.__name__} does not take its options ({text})")]) from None


def _parameters(kind: type[Plugin]) -> Parameters | None:
    """Those that can be given by name; None where nobody can tell."""
    try:
        signature = _signature(kind)
    except (TypeError, ValueError):
        return None
    found = signature.parameters
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in found.values()):
        return None
    return {n: p for n, p in found.items() if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)}


def _signature(kind: type[Plugin]) -> inspect.Signature:
    try:
        return inspect.signature(kind, eval_str=True)
    except Exception:  # annotations that need imports made for type checkers only
        return inspect.signature(kind)


def _checked(name: str, parameters: Parameters | None, options: Mapping[str, Any]) -> dict[str, Any]:
    if parameters is None:
        return dict(options)
    problems = [*_unknown(name, parameters, options), *_missing(parameters, options)]
    checked: dict[str, Any] = {}
    for key in (key for key in options if key in parameters):
        try:
            checked[key] = _value(parameters[key], options[key])
        except ValidationError as error:
            problems += [Problem((key, *wrong.path), wrong.message) for wrong in wrong_values(error)]
    if problems:
        raise OptionsRefused(problems)
    return checked


def _unknown(name: str, parameters: Parameters, options: Mapping[str, Any]) -> Iterator[Problem]:
    others = f", {name} has {', '.join(parameters) or 'none'}"
    for key in (key for key in options if key not in parameters):
        yield Problem((key,), f"unknown option{did_you_mean(key, parameters) or others}")


def _missing(parameters: Parameters, options: Mapping[str, Any]) -> Iterator[Problem]:
    for key, parameter in parameters.items():
        if parameter.default is Parameter.empty and key not in options:
            yield Problem((key,), "is missing")


def _value(parameter: Parameter, given: Any) -> Any:
    """As the annotation wants it: a number for the text of an environment variable, a tuple for a list."""
    form = _form(parameter.annotation)
    if form is None:
        return given
    value = TypeAdapter(form, config=_HIDDEN).validate_python(given)
    return given if type(value) is type(given) and value == given else value


def _form(annotation: Any) -> Any | None:
    """An annotation of what YAML can hold, with our own ideas of numbers; None for any other."""
    origin = get_origin(annotation)
    if origin is Literal or annotation in (types.NoneType, Ellipsis):
        return annotation
    if origin is None:
        return next((form for kind, form in _PLAIN.items() if annotation is kind), None)
    inner = [_form(argument) for argument in get_args(annotation)]
    if origin in (Union, types.UnionType):
        return _optional(inner)
    return origin[tuple(inner)] if origin in _CONTAINERS and None not in inner else None


def _optional(inner: list[Any]) -> Any | None:
    """`X | None`; of other unions pydantic's errors would not say where they are."""
    forms = [form for form in inner if form is not types.NoneType]
    return Union[forms[0], None] if len(forms) == 1 and forms[0] is not None else None  # noqa: UP007


def _without_values(text: str, options: Mapping[str, Any]) -> str:
    for value in _texts(options):
        text = text.replace(value, "...")
    return text


def _texts(value: Any) -> Iterator[str]:
    """Every text in an option, which may be a secret."""
    if isinstance(value, str) and value:
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
