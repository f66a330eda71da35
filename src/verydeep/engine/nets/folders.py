"""A run is a folder. This is what lies in it, and how the net in it, or one from elsewhere, is found.

runs/<name>/
  run.json            the resolved command: data, network, recipe, seeds
  metrics.jsonl       one line a report
  checkpoints/        step-<n>.safetensors: weights, momentum, and the state of the schedule
  model/, best/       model folders: the last weights, and those of the best validation error
  model/classifier/   of a localization net the model folder of the net that it started from
  skipped.json        files that could not be decoded
  bad-boxes-*.json    boxes that were mended or left out
  train.log           what was printed
  curves.png          loss and validation error over the steps
  evaluations/        a folder for each test
  .lock               empty; locked while a process trains it
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from verydeep.configs.published import PUBLISHED
from verydeep.engine.importing.imported import imported_folder, is_name
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import CONFIG, ModelConfig, load_model

Weights = Literal["last", "best"]

WEIGHT_SUFFIXES = (".caffemodel", ".mat", ".h5", ".pth", ".pt", ".safetensors")
"""Of other systems' files."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run."""

    path: Path

    @property
    def settings(self) -> Path:
        """The resolved command."""
        return self.path / "run.json"

    @property
    def lock(self) -> Path:
        """Held by the process that trains it."""
        return self.path / ".lock"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The model folder of the last weights."""
        return self.path / "model"

    @property
    def best(self) -> Path:
        """The model folder of the best weights by validation error."""
        return self.path / "best"

    @property
    def log(self) -> Path:
        """What was said."""
        return self.path / "train.log"

    @property
    def curves(self) -> Path:
        """The picture of the training."""
        return self.path / "curves.png"

    @property
    def skipped(self) -> Path:
        """Files that could not be decoded."""
        return self.path / "skipped.json"

    def bad_boxes(self, part: str) -> Path:
        """The list of boxes of train or val that were mended or left out."""
        return self.path / f"bad-boxes-{part}.json"


def model_folder(run: Path, weights: Weights = "last") -> Path:
    """The model folder of a run, the folder itself where it is one, or that of a weight file or a published net.

    Raises:
        VerydeepError: there is none, or ``best`` is asked of what is a single net; or as ``imported_folder``.
    """
    if not run.exists() and not is_name(run.as_posix()):
        return imported_folder(run)  # which says so
    is_run = run.is_dir() and not (run / CONFIG).exists()
    if not is_run:
        if weights == "best":
            raise VerydeepError(f"{run} is a single net: --weights best needs the folder of a run.")
        return run if run.is_dir() else imported_folder(run)
    folder = RunFolder(run).model if weights == "last" else RunFolder(run).best
    if not (folder / CONFIG).exists():
        raise VerydeepError(f"{run} holds no net in {folder.name}/: train it, or give another folder.")
    return folder


def is_net(path: Path) -> bool:
    """Whether this stands for one net, and not for a folder of runs."""
    if not path.is_dir():
        return path.is_file() or is_name(path.as_posix())
    return (path / CONFIG).exists() or (RunFolder(path).model / CONFIG).exists()


def looks_like_a_net(path: Path) -> bool:
    """Whether a path that is not there was meant for a weight file or a published net."""
    return path.suffix in WEIGHT_SUFFIXES or path.name.split("-")[0] in {name.split("-")[0] for name in PUBLISHED}


def load(source: str | Path, weights: Weights = "last") -> tuple[VGG, ModelConfig]:
    """A net in eval mode, and what travels with it, from whatever stands for one.

    Args:
        source: a run, a model folder, a weight file of Caffe, MatConvNet, Keras, torchvision or timm, the name of a
            published net ("oxford-vgg16"; `verydeep convert --help`), or "hf-hub:owner/name".
        weights: of a run, the last ones or those of the best validation error.

    Raises:
        VerydeepError: there is none, or it is damaged.
    """
    return load_model(model_folder(Path(source), weights))
