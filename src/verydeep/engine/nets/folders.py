"""The files of a run, and the model folder of a run or of any other source of a net.

runs/<name>/
  run.json            settings: data, network, recipe, seeds
  metrics.jsonl       one line for each report
  checkpoints/        step-<n>.safetensors: weights, momentum, and the state of the schedule
  model/, best/       model folders: the last weights, and those with the lowest validation error
  model/classifier/   of a localization net: the model folder of its source net
  skipped.json        files that could not be decoded
  bad-boxes-*.json    boxes that were corrected or left out
  environment.json    command, versions and hardware of each start
  train.log           messages of the training
  curves.png          loss and validation error over the steps
  evaluations/        a folder for each evaluation
  report.html         the report page
  .lock               empty; locked by the process that trains
"""

from pathlib import Path
from typing import Literal

from verydeep.configs.published_nets import PUBLISHED
from verydeep.data.folders.listing import holds_images, list_subfolders
from verydeep.data.folders.products import describe_product, list_classifier_nets
from verydeep.engine.importing.imported import import_net, is_name
from verydeep.errors import OptionError, WeightsError
from verydeep.models.weights.model_folder import CONFIG, WEIGHTS
from verydeep.wording import shorten_list

Weights = Literal["last", "best"]

WEIGHT_SUFFIXES = (".caffemodel", ".mat", ".h5", ".hdf5", ".keras", ".pth", ".pt", ".ckpt", ".safetensors")
"""File name endings of other systems' weights."""


class RunFolder:
    """The paths of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / "run.json"
        self.lock = path / ".lock"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self.best = path / "best"
        self.log = path / "train.log"
        self.curves = path / "curves.png"
        self.skipped = path / "skipped.json"
        self.events = path / "tensorboard"

    def may_hold_before_training(self, name: str) -> bool:
        """Whether a run that was stopped before its settings were saved may have left a file of this name."""
        return name in (self.lock.name, self.log.name, self.skipped.name) or name.startswith("bad-boxes-")

    def bad_boxes(self, split: str) -> Path:
        """The list of boxes of a split that were corrected or left out."""
        return self.path / f"bad-boxes-{split}.json"


def find_model_folder(source: Path, weights: Weights = "last") -> Path:
    """Return the model folder of a run, weight file or published net; a model folder is returned as it is.

    Raises:
        WeightsError: the source is not a net, or the run has not saved one.
        OptionError: the best weights of a single net are asked for.
        ResourceError: a published net cannot be downloaded.
    """
    if not source.is_dir() or (source / CONFIG).exists():
        if weights == "best" and (source.exists() or is_name(source.as_posix())):
            raise OptionError(f"{source} is a single net: `weights=best` needs the folder of a run.", "weights")
        return source if source.is_dir() else import_net(source)
    folder = RunFolder(source).model if weights == "last" else RunFolder(source).best
    if not (folder / CONFIG).exists():
        raise WeightsError(f"{source} {_explain_missing_net(source, folder.name)}")
    return folder


def _explain_missing_net(source: Path, part: str) -> str:
    """Return the end of a sentence: what a folder without a net in ``part`` is, and what to give."""
    product = describe_product(source)
    if (RunFolder(source).model / CONFIG).exists():
        reason = ", because it had no validation images" if RunFolder(source).settings.exists() else ""
        return f"has no net in {part}/{reason}: use `weights=last`."
    if RunFolder(source).settings.exists():
        return "has not saved a net yet: wait, or continue its training."
    if product and product.startswith("is a classifier"):
        own = f"the net it was made from, {nets[0]}" if (nets := list_classifier_nets(source)) else "a net"
        return (
            f"is a classifier of `verydeep transfer`: give {own}; `verydeep predict`, `evaluate`, `explain` "
            "and `describe` take classifiers, too."
        )
    if product and product.startswith("is an archive"):
        return "is an archive of descriptors: give a net here; `verydeep search` takes archives."
    names = [str(source / name) for name in list_subfolders(source) if describe_product(source / name)]
    if names:
        return f"is a folder of runs: give one of them, such as {shorten_list(names, 3)}."
    if holds_images(source):
        return "holds photographs and no net: give a run, a model folder or a weight file."
    return f"has no net in {part}/: give a run, a model folder or a weight file."


def is_net(path: Path) -> bool:
    """Whether the path is a net, and not a folder of runs."""
    if not path.is_dir():
        return path.is_file() or is_name(path.as_posix())
    return (path / CONFIG).exists() or (RunFolder(path).model / CONFIG).exists()


def looks_like_a_net(path: Path) -> bool:
    """Whether a path that does not exist was meant for a weight file or a published net."""
    return path.suffix in WEIGHT_SUFFIXES or path.name.split("-")[0] in {name.split("-")[0] for name in PUBLISHED}


def stamp_files(folder: Path) -> tuple[tuple[int, int], ...]:
    """Return size and modification time of config.json and model.safetensors in a model folder.

    Raises:
        WeightsError: one of them is missing.
    """
    stamps = []
    for path in (folder / CONFIG, folder / WEIGHTS):
        try:
            status = path.stat()
        except FileNotFoundError:
            raise WeightsError(f"{folder} has no {path.name}: its training has not saved a net yet.") from None
        stamps.append((status.st_size, status.st_mtime_ns))
    return tuple(stamps)
