"""What a run tells of signs of trouble, by what it learns."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.training.test_fit import small_job
from verydeep.configs.localization import Regression
from verydeep.engine.journal import Journal
from verydeep.engine.training.advice import Adviser, what_is_learned
from verydeep.engine.training.fit import EpochReport, Report


def told(
    photographs: Path, regression: Regression | None, off_target: float | None, log: Path, loss: float = 50.0
) -> str:
    """What is said in ten steps of two epochs with such a loss."""
    job = replace(small_job(photographs), regression=regression)
    adviser = Adviser(job, Journal(log), first_step=0)
    for step in range(1, 11):
        ends = EpochReport(step // 5, loss, 90.0, False, 1.0, 0.0, 0.0, off_target) if step % 5 == 0 else None
        adviser.listen(Report(step, loss, 1e-2, ends, stopped=False), 10)
    return log.read_text() if log.exists() else ""


def test_classes_that_stay_at_ln_k_are_told(photographs: Path, tmp_path: Path) -> None:
    text = told(photographs, None, None, tmp_path / "log", loss=1.09)
    assert text.count("Plateau: after 10 steps the loss is 1.09, still near ln K = 1.10") == 1
    assert "Crops" not in text and "Worse" not in text


def test_a_loss_far_above_that_of_guessing_is_no_plateau(photographs: Path, tmp_path: Path) -> None:
    text = told(photographs, None, None, tmp_path / "log")
    assert text.count("Worse than guessing: after 10 steps the loss is 50.00, above ln K = 1.10") == 1
    assert "another --learning-rate than 0.01" in text and "Plateau" not in text


@pytest.mark.parametrize("regression", ["per-class", "single-class"])
def test_the_loss_of_boxes_stays_at_no_ln_k(photographs: Path, tmp_path: Path, regression: Regression) -> None:
    assert told(photographs, regression, 0.0, tmp_path / "log") == ""


def test_crops_that_hardly_see_their_box_are_told_once(photographs: Path, tmp_path: Path) -> None:
    text = told(photographs, "per-class", 0.1234, tmp_path / "log")
    assert text.count("Crops: 12.3% of the first epoch's see less than half of their box, though 10 were drawn") == 1
    assert text.count("\n") == 1


def test_what_is_learned_in_words(photographs: Path) -> None:
    job = small_job(photographs)
    words = [what_is_learned(replace(job, regression=each)) for each in (None, "per-class", "single-class")]
    assert words == ["3 classes", "a box for each of 3 classes", "one box, whatever the class"]
