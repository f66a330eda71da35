"""Both test protocols of appendix A as plain loops: one image, one net, one scale, one class at a time."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from tests.engine.classification.test_table_rows import rescaled, single_view
from tests.engine.localization.conftest import Home
from tests.plain_boxes import Rated, best_merged, best_overlap, rated_boxes
from verydeep.configs.protocols import EvaluationProtocol, PaperNet
from verydeep.models.weights.model_folder import load_model

Members = Mapping[str, Sequence[int]]
"""Name of a run -> test scales."""


def name_run(net: PaperNet, seed: int) -> str:
    return f"{str(net).replace('/', '-')}-s{seed}"


def find_members(protocol: EvaluationProtocol, seed: int) -> dict[str, tuple[int, ...]]:
    return {name_run(member.net, seed): member.test_scales for member in protocol.members}


@cache
def predict_posterior(run: Path, path: Path, scale: int, view: str) -> tuple[float, ...]:
    """Return the posteriors of one image in one view."""
    return tuple(single_view(load_model(run / "model")[0], rescaled(path, scale), view).tolist())


def guess_classes(home: Home, index: int, members: Members, view: str) -> list[int]:
    """Return the five most probable classes of one image."""
    posteriors = [
        np.mean(
            [
                predict_posterior(home.runs / run, home.val.path(index), scale, single)
                for scale in scales
                for single in view.split("+")
            ],
            axis=0,
        )
        for run, scales in members.items()
    ]
    return [int(label) for label in np.argsort(np.mean(posteriors, axis=0))[::-1][:5]]


def merge_candidates(home: Home, index: int, members: Members, view: str, label: int, threshold: float) -> Rated:
    """Return the best box of one class after merging those of all nets, scales and positions."""
    path = home.val.path(index)
    candidates = [
        pair
        for run, scales in members.items()
        for scale in scales
        for pair in rated_boxes(home.runs / run, path, scale, view, label)
    ]
    return best_merged(candidates, threshold)


def measure_overlaps(
    home: Home, index: int, members: Members, view: str, guesses: Sequence[int], threshold: float
) -> tuple[float, float]:
    """Return the largest IoU of the true class's box, and of the guesses' boxes: 0 if the true class is not guessed."""
    assert home.boxed_val.split.boxes is not None and home.val.labels is not None
    label = int(home.val.labels[index])
    box, _ = merge_candidates(home, index, members, view, label, threshold)
    overlap = best_overlap(box, home.boxed_val.split.boxes[index].tolist())
    return overlap, overlap if label in guesses else 0.0
