"""A net, and persons on photographs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.descriptors.nets import make_net
from verydeep.data.split import Split
from verydeep.engine.nets.net import Net


@pytest.fixture
def net(tmp_path: Path) -> Net:
    return make_net(tmp_path / "run")


@pytest.fixture
def persons(val_split: Split) -> Split:
    """Two on the first photograph, 98x41, and one on the next, 45x61; the boxes are no squares."""
    boxes = tuple(np.array([box], np.float32) for box in ((3, 4, 40, 39), (20, 0, 90, 30), (9, 11, 40, 58)))
    return replace(val_split.subset([0, 0, 1]), labels=None, boxes=boxes)
