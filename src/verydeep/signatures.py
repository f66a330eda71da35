"""Arguments of public functions: sentences about wrong names and values, where Python would raise TypeErrors."""

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from verydeep.errors import OptionError

P = ParamSpec("P")
R = TypeVar("R")

ALIASES = {
    alias: ours
    for ours, aliases in {
        "learning_rate": "lr",
        "crop": "image_size img_size imgsz input_size size",
        "batch_size": "bs batch",
        "network": "model arch",
        "init_from": "pretrained",
        "out": "output output_dir",
        "workers": "num_workers",
        "devices": "gpus",
        "top": "topk k",
    }.items()
    for alias in aliases.split()
}
"""Parameters as other systems call them -> ours."""

MAX_SHOWN = 60
"""Letters of a value that a message shows."""


@dataclass(frozen=True)
class ValueKind:
    """Values that a parameter takes; stands in an annotation where the type of the command line is narrower."""

    words: str
    """Noun with its article, for the message about another value."""
    accepts: Callable[[object], bool]
    is_list: bool = False
    """Whether a list is among the values, so that an iterator is one, too."""

    def collect(self, value: object) -> object:
        """Return an iterator, such as that of ``Path.glob``, or an array or series of several values as a list."""
        is_column = getattr(value, "ndim", None) == 1 and isinstance(value, Iterable) and self is not IMAGES
        return list(value) if self.is_list and (is_column or isinstance(value, Iterator)) else value  # type: ignore[call-overload]


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_path(value: object) -> bool:
    return isinstance(value, str | PathLike)


def _is_net(value: object) -> bool:
    return _is_path(value) or hasattr(value, "class_names")


def _is_list_of(is_element: Callable[[object], bool]) -> Callable[[object], bool]:
    def accepts(value: object) -> bool:
        if is_element(value) or isinstance(value, bytes | bytearray):
            return is_element(value)
        return isinstance(value, Sequence) and all(map(is_element, value))

    return accepts


FLAG = ValueKind("True or False", lambda value: type(value).__name__ in ("bool", "bool_"))
WHOLE_NUMBER = ValueKind("a whole number", lambda value: isinstance(value, Integral) and _is_number(value))
NUMBER = ValueKind("a number", _is_number)
TEXT = ValueKind("a text", lambda value: isinstance(value, str))
PATH = ValueKind("a path", _is_path)
NUMBERS = ValueKind(
    "a number, a list of numbers or a text", _is_list_of(lambda each: _is_number(each) or TEXT.accepts(each)), True
)
NET = ValueKind("a net: give a path, a name, or what `load` returns", _is_net)
NETS = ValueKind("a net or a list of nets: give paths, names, or what `load` returns", _is_list_of(_is_net), True)
IMAGES = ValueKind("an image", lambda _: True, True)
"""Each image is checked when it is opened."""

KINDS: Mapping[Any, ValueKind] = {bool: FLAG, int: WHOLE_NUMBER, float: NUMBER, str: TEXT, Path: PATH}
"""Kind of the values of a type."""


def refuse_value(name: str, value: object, kind: ValueKind) -> OptionError:
    """Return the error about a value of another kind."""
    text = repr(value)
    is_short = len(text) <= MAX_SHOWN and "\n" not in text and isinstance(value, str | Real | Sequence | None)
    subject = f"`{name}={text}` is not" if is_short else f"`{name}` is of type {type(value).__name__}, not"
    is_net_elsewhere = hasattr(value, "class_names") and not _is_path(value)
    advice = f": give values by name, as in `{name}=...`" if is_net_elsewhere else ""
    return OptionError(f"{subject} {kind.words}{advice}.", name)


def suggest_names(typed: str, names: Collection[str]) -> list[str]:
    """Return the parameters that a wrong name may mean, the likeliest one first."""
    typed = typed.replace("-", "_").lower()
    alias = ALIASES.get(typed)
    others = [alias, "scales"] if alias == "crop" else [alias]
    near = [each for each in others if each is not None and each in names]
    return near + (difflib.get_close_matches(typed, names, n=1) if len(typed) > 1 else [])


def bind_arguments(
    name: str, signature: inspect.Signature, args: Sequence[object], kwargs: Mapping[str, object]
) -> dict[str, Any]:
    """Return the value of every parameter of a public function, defaults included.

    Args:
        name: of the function.
        signature: with parameters for single values alone.
        args: values without a name.
        kwargs: values by name.

    Raises:
        OptionError: a name is wrong or used twice, a value is missing, or there are too many.
    """
    parameters = signature.parameters
    unnamed = [each.name for each in parameters.values() if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    for key in kwargs:
        if key not in parameters:
            near = [f"`{each}`" for each in suggest_names(key, parameters)[:1]]
            advice = f"did you mean {near[0]}?" if near else f"it takes {', '.join(parameters)}."
            raise OptionError(f"`vd.{name}` has no parameter `{key}`: {advice}", key)
    if len(args) > len(unnamed):
        order = f"takes {', '.join(unnamed)}" if unnamed else "takes no values"
        raise OptionError(
            f"`vd.{name}` {order} without names, but {len(args)} values were given: name the others, as in "
            f"`{list(parameters)[-1]}=...`."
        )
    given = unnamed[: len(args)]
    for key in given:
        if key in kwargs:
            raise OptionError(f"`{key}` is given twice, first without its name: leave out one of them.", key)
    for each in parameters.values():
        if each.default is each.empty and each.name not in (*given, *kwargs):
            raise OptionError(f"`vd.{name}` needs `{each.name}`: help(vd.{name}) explains it.", each.name)
    arguments = signature.bind(*args, **kwargs)
    arguments.apply_defaults()
    return dict(arguments.arguments)


def explain_names(function: Callable[P, R]) -> Callable[P, R]:
    """Make a public function that is no command raise OptionErrors about the names of its arguments."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(**bind_arguments(function.__name__, signature, args, kwargs))  # type: ignore[call-arg]

    return call
