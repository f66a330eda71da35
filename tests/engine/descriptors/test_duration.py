"""The time that describing will take, as it is logged before the first image is described."""

import re
import shutil
from pathlib import Path

import pytest

from tests.engine.descriptors.nets import CPU, make_net
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.descriptors.cache import compute_descriptors, find_jobs
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.progress import duration_text
from verydeep.errors import DataError


@pytest.fixture
def split(val_split: Split, tmp_path: Path) -> Split:
    """Copies of the photographs, which no test has described."""
    shutil.copytree(val_split.root, tmp_path / "val")
    return Split("val", tmp_path / "val", val_split.files, None, (), (), "photographs", camera_rotation=True)


def test_time_is_said_before_images_are_described(
    split: Split, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of those that are missing: of two scales each image counts once; of nothing, nothing is said."""
    caplog.set_level("INFO", "verydeep")
    net = make_net(tmp_path / "run")
    some = Representation((net,), ("relu7",), (256,))
    compute_descriptors(some, split.subset(range(5)), CPU)
    both = Representation((net,), ("relu7",), (256, 320))
    jobs = find_jobs(both, split, CPU, Decoding())
    assert [(job.scales, job.missing.tolist()) for job in jobs] == [
        ([256], list(range(5, 12))),
        ([320], list(range(12))),
    ]
    caplog.clear()
    compute_descriptors(both, split, CPU)
    (message,) = caplog.messages
    assert re.fullmatch(r"Expected time: about \d+ seconds? for 12 photographs\.", message)
    caplog.clear()
    compute_descriptors(both, split, CPU)
    assert not caplog.messages and not find_jobs(both, split, CPU, Decoding())


def test_files_that_cannot_be_decoded_are_skipped_or_an_error(
    split: Split, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "verydeep")
    for file in split.files[::3]:
        (split.root / file).write_bytes(b"no picture")
    representation = Representation((make_net(tmp_path / "run"),), ("relu7",), (256,))
    assert len(compute_descriptors(representation, split, CPU, Decoding("skip"))) == 4
    assert "for 12 photographs." in caplog.text
    with pytest.raises(DataError, match="is not an image"):
        compute_descriptors(representation, split, CPU)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 second"), (1.6, "2 seconds"), (119, "119 seconds"), (720, "12 minutes"), (9000, "2.5 hours")],
)
def test_durations_are_rounded(seconds: float, text: str) -> None:
    assert duration_text(seconds) == f"about {text}"
