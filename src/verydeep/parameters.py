"""Parameters of the public functions: explained once for Python and the command line, and checked."""

import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from verydeep.engine.process import owns_process
from verydeep.engine.progress import show_progress
from verydeep.errors import OptionError
from verydeep.signatures import KINDS, ValueKind, bind_arguments, refuse_value
from verydeep.wording import join_choices

P = ParamSpec("P")
R = TypeVar("R")

REQUIRED: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class Option:
    """Help and range of a parameter; stands in its annotation."""

    help: str
    """One clause."""
    negative_help: str = field(default="", kw_only=True)
    """Clause for the command line's ``--no-`` form of a flag that is on by default."""
    default: str = ""
    """Words for the default, where the signature has ``None``."""
    metavar: str = ""
    """Name of the value in the command line's help."""
    heading: str = "usual"
    """Options with the same heading stand together in the command line's help."""
    value: Any = REQUIRED
    """The default itself, of a keyword in a ``TypedDict``."""
    smallest: float | None = None
    largest: float | None = None


@dataclass(frozen=True)
class Parameter:
    """One parameter of a public function."""

    name: str
    type: Any
    """Without ``None``."""
    option: Option
    default: Any
    """``REQUIRED`` where there is none."""
    is_positional: bool
    is_optional: bool
    """Whether ``None`` is a value."""
    kind: ValueKind | None
    """Values that Python callers may give; None where there are choices."""

    @property
    def default_text(self) -> str:
        """The default in words, or nothing where there is nothing to say."""
        if self.option.default or any(self.default is each for each in (None, REQUIRED, (), False)):
            return self.option.default
        return "yes" if self.default is True else str(self.default)

    def check(self, value: Any) -> None:
        """Refuse a value of the wrong kind, out of range, or not among the choices.

        Raises:
            OptionError: The value is refused.
        """
        if value is None and self.is_optional:
            return
        if self.kind is not None and not self.kind.accepts(value):
            raise refuse_value(self.name, value, self.kind)
        choices = get_args(self.type) if get_origin(self.type) is Literal else ()
        if choices and not (isinstance(value, str) and value in choices):
            raise OptionError(f"`{self.name}={value}` is unknown: choose {join_choices(choices)}.", self.name)
        smallest, largest = self.option.smallest, self.option.largest
        if (smallest is not None and not value >= smallest) or (largest is not None and not value <= largest):
            limits = f"{smallest:g} or more" if largest is None else f"a number from {smallest:g} to {largest:.10g}"
            raise OptionError(f"`{self.name}={value:g}` is out of range: give {limits}.", self.name)


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Make a public function of a command: check its arguments, and show progress if it is wanted.

    The function gets all keywords of its ``TypedDict``, with their defaults; its docstring gets a list of parameters.
    """
    parameters = read_parameters(function)
    returns = inspect.signature(function).return_annotation
    signature = inspect.Signature([_plain(parameter) for parameter in parameters], return_annotation=returns)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        values = bind_arguments(function.__name__, signature, args, kwargs)
        for parameter in parameters:
            if parameter.kind is not None:
                values[parameter.name] = parameter.kind.collect(values[parameter.name])
            parameter.check(values[parameter.name])
        with show_progress(values.get("progress", True)):
            result = function(**values)  # type: ignore[call-arg]
        if not owns_process() and getattr(result, "skipped", None) and getattr(result, "problem", ""):
            warnings.warn(result.problem, stacklevel=2)  # type: ignore[attr-defined]
        return result

    call.__signature__ = signature  # type: ignore[attr-defined]
    text, *sections = re.split(r"\n\n(?=(?:Returns|Raises):\n)", inspect.getdoc(function) or "")
    call.__doc__ = "\n\n".join([text, "Args:\n" + "\n".join(map(_document, parameters)), *sections])
    return call


def _plain(parameter: Parameter) -> inspect.Parameter:
    """Return a parameter for ``inspect.signature``, without what the command line adds to its type."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if parameter.is_positional else inspect.Parameter.KEYWORD_ONLY
    annotation = parameter.type | None if parameter.default is None else parameter.type
    return inspect.Parameter(parameter.name, kind, default=parameter.default, annotation=annotation)


def _document(parameter: Parameter) -> str:
    """Return a line of a docstring."""
    default = f" (default: {parameter.default_text})" if parameter.default_text else ""
    return f"    {parameter.name}: {parameter.option.help}{default}"


def read_parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the parameters of a function, those of its ``TypedDict`` of keywords included."""
    parameters: list[Parameter] = []
    for each in inspect.signature(inspect.unwrap(function), follow_wrapped=False).parameters.values():
        if each.kind is inspect.Parameter.VAR_KEYWORD:
            (keywords,) = get_args(each.annotation)
            parameters += [_read(name, annotation, REQUIRED) for name, annotation in keywords.__annotations__.items()]
        else:
            is_positional = each.kind is not inspect.Parameter.KEYWORD_ONLY
            parameters.append(_read(each.name, each.annotation, each.default, is_positional))
    return tuple(parameters)


def list_given(function: Callable[..., Any], values: Mapping[str, Any]) -> list[str]:
    """Return the names of a function's parameters whose values are not the defaults."""
    return [each.name for each in read_parameters(function) if values[each.name] != each.default]


def _read(name: str, annotation: Any, default: Any, is_positional: bool = False) -> Parameter:
    """Take an annotation apart."""
    kind, options, kinds, is_optional = annotation, [], [], False
    while get_origin(kind) in (Annotated, Union, UnionType):
        parts = get_args(kind)
        options += [each for each in reversed(parts) if isinstance(each, Option)]
        kinds += [each for each in parts if isinstance(each, ValueKind)]
        is_optional = is_optional or NoneType in parts
        kind = next(each for each in parts if each is not NoneType)
    option = options[0] if options else Option("")
    default = option.value if default is REQUIRED else default
    values = kinds[0] if kinds else KINDS.get(kind)
    return Parameter(name, kind, option, default, is_positional, is_optional, values)
