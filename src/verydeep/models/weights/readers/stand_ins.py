"""Stand-ins for what checkpoints hold beside the weights, so that they can be read without running its code."""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_IGNORED = re.compile(
    r"(__builtin__|builtins) (list|dict|set|frozenset|int|float|str|bool)|argparse Namespace|types SimpleNamespace"
    r"|pathlib(\._local)? \w+|numpy(\._core|\.core)?\.multiarray scalar|numpy dtype|_codecs encode"
    r"|datetime (date|datetime|timedelta)|(omegaconf|(pytorch_)?lightning)[.\w]* \w+"
)
"""Arguments of a training, figures, paths and dates, as "module name"."""
_DICTIONARIES = re.compile(
    r"collections defaultdict|yacs\.config CfgNode|easydict EasyDict|addict[.\w]* \w+"
    r"|(pytorch_)?lightning[.\w]* AttributeDict"
)
"""Dictionaries that hold the weights, or settings beside them."""
_LOADING = threading.Lock()
"""torch's list of names belongs to the whole process."""


class _Ignored:
    """An object of ``_IGNORED``."""

    def __new__(cls, *_arguments: object) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *_arguments: object) -> None:
        """Take anything."""

    def __setstate__(self, _state: object) -> None:
        """Forget the state."""


class _Dictionary:
    """Makes a plain dictionary for one of ``_DICTIONARIES``; torch fills no other."""

    def __new__(cls, *_arguments: object) -> OrderedDict[object, object]:  # type: ignore[misc]
        return OrderedDict()


def is_replaceable(name: str) -> bool:
    """Whether what a pickle names, as "module name", can be replaced without a loss for the weights."""
    return bool(_IGNORED.fullmatch(name) or _DICTIONARIES.fullmatch(name))


@contextmanager
def put_stand_ins(names: Collection[str]) -> Iterator[None]:
    """Let ``torch.load`` put stand-ins in the place of what has these names."""
    if not names:
        yield
        return
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (
            _Dictionary if _DICTIONARIES.fullmatch(name) else _Ignored,
            name.replace("__builtin__", "builtins").replace(" ", "."),
        )
        for name in sorted(names)
    ]
    with _LOADING, torch.serialization.safe_globals(stand_ins):
        yield
