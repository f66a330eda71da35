"""Trainings that are interrupted in the middle."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from verydeep.models.vgg import VGG


@contextmanager
def interrupt_when(condition: Callable[[], bool]) -> Iterator[None]:
    """Press Ctrl-C once, in the first training step at which the condition holds."""
    interrupted = False

    def check(model: nn.Module, _inputs: object) -> None:
        nonlocal interrupted
        if isinstance(model, VGG) and model.training and not interrupted and condition():
            interrupted = True
            signal.raise_signal(signal.SIGINT)

    handle = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()
