"""Both test protocols of appendix A as plain loops: one image, one net, one scale, one class at a time."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from tests.engine.classification.test_tables import rescaled, single_view
from tests.engine.localization.conftest import Home
from tests.plain_boxes import Rated, best_merged, best_overlap, rated_boxes
from verydeep.configs.protocols import EvaluationProtocol
from verydeep.models.weights.native import load_model

Members = Mapping[str, Sequence[int]]
"""Name of a run -> test scales."""


def run_of(net: object, seed: int) -> str:
    return f"{str(net).replace('/', '-')}-s{seed}"


def members_of(protocol: EvaluationProtocol, seed: int) -> dict[str, tuple[int, ...]]:
    return {run_of(member.net, seed): member.test_scales for member in protocol.members}


@cache
def seen(run: Path, path: Path, scale: int, view: str) -> tuple[float, ...]:
    """The posteriors of one image in one view."""
    return tuple(single_view(load_model(run / "model")[0], rescaled(path, scale), view).tolist())


def five_guesses(home: Home, index: int, members: Members, view: str) -> list[int]:
    """The most probable classes of one image."""
    of_nets = [
        np.mean([seen(home.runs / run, home.val.path(index), q, kind) for q in scales for kind in view.split("+")], 0)
        for run, scales in members.items()
    ]
    return [int(label) for label in np.argsort(np.mean(of_nets, axis=0))[::-1][:5]]


def merged_box(home: Home, index: int, members: Members, view: str, label: int, threshold: float) -> Rated:
    """The best box of one class after merging those of all nets, scales and positions."""
    path = home.val.path(index)
    pool = [
        pair
        for run, scales in members.items()
        for q in scales
        for pair in rated_boxes(home.runs / run, path, q, view, label)
    ]
    return best_merged(pool, threshold)


def overlaps(
    home: Home, index: int, members: Members, view: str, guesses: Sequence[int], threshold: float
) -> tuple[float, float]:
    """The largest IoU of the true class's box, and of the guesses' boxes: 0 if the true class is none of them."""
    assert home.part.split.boxes is not None and home.val.labels is not None
    label = int(home.val.labels[index])
    box, _ = merged_box(home, index, members, view, label, threshold)
    found = best_overlap(box, home.part.split.boxes[index].tolist())
    return found, found if label in guesses else 0.0
