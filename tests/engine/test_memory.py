"""The free memory of the machine, and of a container; what happens when it runs out."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engine.archive.archives import read_archive
from tests.engine.training.test_fit import CPU
from tests.runs import Cli, losses_of, read_csv
from verydeep.data.layout import open_split
from verydeep.engine import memory
from verydeep.engine.inference import rescale_images
from verydeep.engine.training.objective import find_errors
from verydeep.errors import VerydeepError
from verydeep.models.initialization import initialize
from verydeep.models.weights.model_folder import (
    ModelConfig,
    keep_classifier,
    load_config,
    load_model,
    save_config,
    save_weights,
)


def write_group(folder: Path, values: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name).write_text(str(value))


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of control groups; the machine has a megabyte free."""
    (tmp_path / "meminfo").write_text("MemTotal: 4096 kB\nMemAvailable: 1024 kB\n")
    for name, file in (("MEMINFO", "meminfo"), ("OWN_GROUPS", "own"), ("GROUPS", "groups")):
        monkeypatch.setattr(memory, name, tmp_path / file)
    return tmp_path / "groups"


def test_the_limit_of_a_container_counts(groups: Path) -> None:
    """Second version of control groups: the limit stands at a parent; pages of read files make room."""
    (groups.parent / "own").write_text("0::/pod/part\n")
    assert memory.host_memory() == 2**20
    stat = {"memory.stat": "anon 100\ninactive_file 50\n"}
    write_group(groups / "pod", {"memory.max": 1000, "memory.current": 700, **stat})
    write_group(groups / "pod" / "part", {"memory.max": "max", "memory.current": 600, **stat})
    assert memory.host_memory() == 1000 - 700 + 50
    write_group(groups / "pod", {"memory.max": 2**21, "memory.current": 0})
    assert memory.host_memory() == 2**20


def test_the_first_version_of_control_groups_counts_too(groups: Path) -> None:
    """In a container its path is the machine's, and the limit is at the root."""
    (groups.parent / "own").write_text("5:devices:/a\n4:memory:/docker/1f\n0::/\n")
    stat = {"memory.stat": "inactive_file 7\ntotal_inactive_file 50\n"}
    write_group(groups / "memory", {"memory.limit_in_bytes": 1000, "memory.usage_in_bytes": 1100, **stat})
    assert memory.host_memory() == 0
    write_group(groups / "memory", {"memory.limit_in_bytes": 2**63 - 4096, "memory.usage_in_bytes": 5})
    assert memory.host_memory() == 2**20


def test_this_machine_says_how_much_is_free() -> None:
    assert memory.host_memory() > 0


needs_limit = pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")


def limited(megabytes: int, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line with so many megabytes more than it has reserved before it begins."""
    command = [sys.executable, "-m", "tests.limited", megabytes, *arguments]
    return subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False, timeout=240, env=environment(cwd)
    )


def environment(folder: Path) -> dict[str, str]:
    """The environment of this process, in which tests can be imported, with a cache of its own and one thread.

    The C library reserves up to 128 MB for each further thread that allocates, which would count against the limit.
    """
    paths = [str(Path(memory.__file__).parents[2]), str(Path(__file__).parents[2])]
    own = {
        "PYTHONPATH": os.pathsep.join(paths),
        "VERYDEEP_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
    }
    return os.environ | own


TRAINING = (
    *("--crop", 160, "--width", 1 / 16, "--fc-width", 16, "--precision", "fp32", "--workers", 0, "--kernels", "torch"),
    *("--batch-size", 60, "--micro-batch", 60, "--epochs", 3, "--learning-rate", 1e-3),
)


@needs_limit
def test_a_training_halves_its_micro_batch(photographs: Path, tmp_path: Path, inside: Cli) -> None:
    done = limited(140, "train", photographs, *TRAINING, "--out", "small", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    message = "The memory of cpu ran out with 60 images at a time; now it is 30."
    assert message in done.stdout and message in (tmp_path / "small" / "train.log").read_text()
    inside("train", photographs, *TRAINING, "--out", "whole")
    assert losses_of(tmp_path / "small") == pytest.approx(losses_of(tmp_path / "whole"), rel=1e-5)


@needs_limit
def test_a_training_that_cannot_fit_is_refused(photographs: Path, tmp_path: Path) -> None:
    """A net of 33 million weights: with gradients and momentum, 12 bytes each."""
    words = ("train", photographs, "--crop", 32, "--precision", "fp32", "--workers", 0)
    large = limited(200, *words, "--width", 1, cwd=tmp_path)
    assert large.returncode == 1 and "Training this net needs 3" in large.stderr and large.stderr.count("\n") == 1
    assert "give a smaller --width, --fc-width or --crop, or fewer --devices, or free some." in large.stderr
    many = limited(60, "train", photographs, *TRAINING, "--crop", 224, cwd=tmp_path)
    assert many.returncode == 1 and "give a --micro-batch of at most " in many.stderr
    assert not list((tmp_path / "runs").iterdir())


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A net of half the paper's width, which takes hundreds of megabytes for a batch and a dozen for an image."""
    names = ("apple", "bee", "cloud")
    config = ModelConfig("A", names, names, crop=32, width=0.5, fc_width=16)
    model = config.build()
    initialize(model, "glorot", seed=1)
    save_config(tmp_path / "net", config)
    save_weights(tmp_path / "net", model.state_dict())
    return tmp_path / "net"


@pytest.mark.usefixtures("groups")  # with a megabyte
@pytest.mark.parametrize("command", ["evaluate", "predict", "features", "transfer"])
def test_a_net_that_cannot_fit_is_refused(command: str, net: Path, photographs: Path, inside: Cli) -> None:
    """2.3 million weights take 9 MB."""
    words = {"evaluate": (photographs, net), "transfer": (photographs, net)}.get(command, (net, photographs / "test"))
    out = () if command == "predict" else ("--out", "out")
    done = inside(command, *words, *out, "--kernels", "torch", "--precision", "fp32", check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "needs at least 9.2 MB of memory in each process, and 1.0 MB are free: free some, or give" in done.stderr


@needs_limit
def test_evaluations_and_descriptors_halve_their_batches(
    net: Path, photographs: Path, tmp_path: Path, inside: Cli
) -> None:
    common = ("--precision", "fp32", "--workers", 0, "--kernels", "torch", "--scales", 2048)
    evaluation = ("evaluate", photographs, net, "--split", "test", *common)
    features = ("features", net, photographs / "test", *common)
    for words, out in ((evaluation, "evaluation"), (features, "archive")):
        done = limited(185, *words, "--out", out, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "The memory of cpu ran out with" in done.stdout
        inside(*words, "--out", f"whole-{out}")
    small, whole = (read_csv(tmp_path / name / "predictions.csv") for name in ("evaluation", "whole-evaluation"))
    assert [row["path"] for row in small] == [row["path"] for row in whole] and len(whole) == 9
    for name in ("p1", "p2", "p3"):
        assert [float(row[name]) for row in small] == pytest.approx([float(row[name]) for row in whole], abs=1e-5)
    descriptors, expected = read_archive(tmp_path / "archive"), read_archive(tmp_path / "whole-archive")
    assert descriptors.keys() == expected.keys()
    for image, values in expected.items():
        np.testing.assert_allclose(descriptors[image], values, atol=1e-5)


@needs_limit
def test_a_transfer_halves_its_batches(net: Path, photographs: Path, tmp_path: Path, inside: Cli) -> None:
    words = ("transfer", photographs / "test", net, "--num-train", 2, "--scales", 2048, "--precision", "fp32")
    words = (*words, "--workers", 0, "--kernels", "torch")
    done = limited(160, *words, "--out", "small", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The memory of cpu ran out with" in done.stdout
    inside(*words, "--out", "whole")
    small, whole = (read_csv(tmp_path / name / "predictions.csv") for name in ("small", "whole"))
    assert small == whole and len(whole) > 0


@pytest.fixture
def box_net(net: Path, tmp_path: Path) -> Path:
    """A net that predicts a box of each of the classes, with the net of ``net`` as its source net."""
    config = replace(load_config(net), regression="per-class")
    model = config.build()
    initialize(model, "glorot", seed=2)
    save_config(tmp_path / "boxes", config)
    save_weights(tmp_path / "boxes", model.state_dict())
    keep_classifier(tmp_path / "boxes", net)
    return tmp_path / "boxes"


@needs_limit
def test_a_localization_halves_its_batches(box_net: Path, photographs: Path, tmp_path: Path, inside: Cli) -> None:
    """Those of the guesses first, then those of the boxes."""
    words = ("localize", box_net, photographs / "test", "--scales", 2048, "--top", 1, "--format", "csv")
    words = (*words, "--precision", "fp32", "--workers", 0, "--kernels", "torch")
    done = limited(130, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("The memory of cpu ran out with 3 images at a time") == 2
    small, whole = (list(csv.DictReader(text.splitlines())) for text in (done.stdout, inside(*words).stdout))
    assert [row["image"] for row in small] == [row["image"] for row in whole] and len(whole) == 9
    for side in ("xmin", "ymin", "xmax", "ymax"):
        assert [float(row[side]) for row in small] == pytest.approx([float(row[side]) for row in whole], abs=1e-3)


def test_a_validation_of_boxes_halves_its_batches(box_net: Path, photographs: Path) -> None:
    """A layer fails on more than two images, as if its memory had run out."""
    split = open_split(photographs, "val")
    boxes = tuple(np.array([[5, 4, 40, 30]], np.float32) for _ in split.files)
    split, model, found = replace(split, boxes=boxes), load_model(box_net)[0], []

    def fail(_layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > 2:
            raise MemoryError

    for is_short in (False, True):
        if is_short:
            model.get_submodule("conv1_1").register_forward_pre_hook(fail)
        batches = list(rescale_images(model, split, [256], CPU, whole=False))
        found.append([find_errors(model, batch, 256, split, "per-class", CPU).tolist() for batch in batches])
        (batch,) = batches  # of 15 central crops: an eighth of them is two
        assert batch.limit.divisor == (8 if is_short else 1)
    assert found[0] == found[1]


def run_short_of_memory(error: Exception, largest: int, planned: int) -> tuple[list[int], list[str]]:
    """Compute with memory for ``largest`` images; return the numbers that were tried, and the messages."""
    tried: list[int] = []
    messages: list[str] = []

    def compute(at_once: int) -> int:
        tried.append(at_once)
        if at_once > largest:
            raise error
        return at_once

    limit = memory.BatchLimit("cuda:0", messages.append)
    assert limit.run(compute, planned) == tried[-1]
    assert limit.run(compute, planned) == tried[-1]  # now at once
    return tried, messages


def test_half_as_many_images_are_tried_until_they_fit() -> None:
    """PyTorch's error of a GPU is raised by hand, as no test may fill the memory of one."""
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    tried, messages = run_short_of_memory(error, largest=3, planned=10)
    assert tried == [10, 5, 3, 3]
    assert messages == [
        "The memory of cuda:0 ran out with 10 images at a time; now it is 5.",
        "The memory of cuda:0 ran out with 5 images at a time; now it is 3.",
    ]


@pytest.mark.parametrize(
    ("error", "largest"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), 0),
        (RuntimeError("shapes differ"), 3),
        (VerydeepError("no memory"), 3),
    ],
)
def test_other_errors_and_a_single_image_without_memory_are_raised(error: Exception, largest: int) -> None:
    with pytest.raises(type(error)):
        run_short_of_memory(error, largest, planned=4)
