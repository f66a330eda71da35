"""Optional packages to compare with: torchvision, even if torch is a CPU build and torchvision is not."""

import importlib
import os
import sys
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch

_OPERATORS: list[torch.library.Library] = []
"""Keeps the definitions of operators alive."""


def need(package: str) -> None:
    """Skip the test if a peer is not installed, or fail if VERYDEEP_REQUIRE_PEERS is set."""
    if find_spec(package) is None:
        missing = pytest.fail if os.environ.get("VERYDEEP_REQUIRE_PEERS") else pytest.skip
        missing(f"{package} is not installed")


@cache
def import_torchvision() -> ModuleType:
    """Import torchvision with its models, transforms and datasets; ``ops.nms`` may stay broken.

    Its ordinary build registers shapes of two compiled operators at import, which do not exist with a CPU build of
    torch. Declaring them is enough for the rest of the package.

    Raises:
        ModuleNotFoundError: torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    _OPERATORS.append(library)
    return importlib.import_module("torchvision")
