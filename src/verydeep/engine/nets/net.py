"""A net on the disk, as a command names it; which classes it knows."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from verydeep.configs.networks import PAPER_FC_WIDTH
from verydeep.configs.protocols import PaperNet
from verydeep.configs.scales import TrainScale
from verydeep.data.folder import WNID
from verydeep.data.split import Split
from verydeep.engine.datasets import VAL_FRACTION, fingerprint, open_data_split
from verydeep.engine.nets.folders import RunFolder, Weights, model_folder
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import (
    CLASSIFIER,
    ModelConfig,
    load_config,
    load_model,
    unnamed,
)


@dataclass(frozen=True)
class Net:
    """A net as a command names it."""

    path: Path
    """The run or model folder."""
    folder: Path
    """The model folder."""
    config: ModelConfig
    outputs: tuple[int, ...] | None = None
    """Which of the net's outputs its classes are, in their order; None: all of them, as they stand."""
    weights: Weights = "last"

    def __hash__(self) -> int:  # its config holds what cannot be hashed
        return hash(self.folder)

    @classmethod
    def open(cls, source: "str | Path | Net", weights: Weights = "last") -> "Net":
        """Read the configuration of a net, not its weights; a net is returned as it is.

        Raises:
            WeightsError: The folder is neither a run nor a model folder, or damaged.
        """
        if isinstance(source, Net):
            return source
        path = Path(source)
        folder = model_folder(path, weights)
        return cls(path, folder, load_config(folder), weights=weights)

    @property
    def stored_path(self) -> str:
        """How it is found again from anywhere: a folder or file by its whole path, a published net by its name."""
        return str(self.path.resolve()) if self.path.exists() else self.path.as_posix()

    def load(self) -> VGG:
        """The net itself, in eval mode."""
        model = load_model(self.folder)[0]
        if self.outputs is not None:
            model.keep_outputs(self.outputs)
        return model

    def with_outputs_for(self, class_names: tuple[str, ...]) -> "Net | None":
        """This net with the outputs of these classes, in their order; None where it does not know them all.

        Only WNIDs mean the same everywhere. Other names have to agree as they stand, order included.
        """
        config = self.config
        if config.class_names == class_names:
            return self
        places = {name: place for place, name in enumerate(config.class_names)}
        if config.regression is not None or not all(WNID.fullmatch(name) and name in places for name in class_names):
            return None
        outputs = tuple(places[name] for name in class_names)
        words = tuple(config.class_words[place] for place in outputs)
        return replace(self, config=replace(config, class_names=class_names, class_words=words), outputs=outputs)

    @property
    def trained(self) -> PaperNet | None:
        """Which of the paper's nets this is.

        None at another width, where the train scale is not known, or where it began with weights of another system:
        the paper's nets began with random ones, or with net A's.
        """
        config = self.config
        if config.provenance.foreign_source is not None:
            return None
        if config.width != 1 or config.fc_width != PAPER_FC_WIDTH or config.train_scale is None:
            return None
        return PaperNet(config.network, TrainScale.parse(config.train_scale), config.fine_tuned, config.regression)

    @property
    def classifier(self) -> "Net":
        """Of a localization net: the classification net that it started from, which rates its boxes.

        Raises:
            VerydeepError: its copy is not there.
        """
        # The best weights of a run share the copy that lies beside the last ones.
        kept = [self.folder / CLASSIFIER, RunFolder(self.folder.parent).model / CLASSIFIER]
        return Net.open(next((folder for folder in kept if folder.exists()), kept[0]))

    @property
    def imported(self) -> bool:
        """Whether another system trained it."""
        return self.config.provenance.imported_from is not None

    @property
    def foreign(self) -> bool:
        """Whether another system trained it, or what it started from."""
        return self.imported or self.config.provenance.foreign_source is not None

    @property
    def ended(self) -> bool:
        """Whether its training came to its end; of a net that another system trained nothing else is known."""
        return self.imported or self.config.provenance.converged is not None

    @property
    def converged(self) -> bool:
        """Whether its training made all of its drops of the learning rate, as far as we know."""
        converged = self.config.provenance.converged
        return self.imported if converged is None else converged

    def __str__(self) -> str:
        return str(self.trained or self.path.name)


@dataclass(frozen=True)
class EnsembleMember:
    """A net and the test scales Q at which it is asked: a member of a protocol, found on the disk."""

    net: Net
    scales: tuple[int, ...]


def check_classes(split: Split, net: Net) -> None:
    """Refuse a data set whose classes the net does not know.

    Raises:
        VerydeepError: it is a trunk, or the number, names or order of its classes differ, and are not all WNIDs.
    """
    refuse_trunk(net.config, net.path)
    if net.with_outputs_for(split.class_names) is None:
        refuse_classes(split, net)


def refuse_trunk(config: ModelConfig, path: Path) -> None:
    """Refuse a net that names no classes, where classes are wanted of it.

    Raises:
        VerydeepError: it is a trunk.
    """
    if config.is_trunk:
        raise VerydeepError(
            f"{path} has convolutions alone and names no classes: train a net from it with --init-from."
        )


def refuse_classes(split: Split, net: Net) -> NoReturn:
    """Say where the classes of a data set and of a net differ.

    Raises:
        VerydeepError: always.
    """
    known = net.config.class_names
    if known == unnamed(len(known)):
        raise VerydeepError(
            f"{net.path} does not name its {len(known)} classes: verydeep convert {net.path} DIR --class-names FILE "
            "gives them names."
        )
    if len(split.class_names) != len(known):
        raise VerydeepError(
            f"{split.root} has {len(split.class_names)} classes, {net.path} was trained on {len(known)}: "
            "evaluate it on the classes it knows."
        )
    here, there = next((a, b) for a, b in zip(split.class_names, known, strict=True) if a != b)
    raise VerydeepError(
        f"{split.root} has a class {here!r} where {net.path} has {there!r}: these are other classes; "
        "test it on the classes it was trained on."
    )


def check_same_split(net: Net, data: str, part: Split) -> None:
    """Refuse a net that divided the same folder otherwise, and so may have been trained on what it is tested on.

    Raises:
        VerydeepError: it did.
    """
    seed, val_fraction = net.config.split.get("seed", 0), net.config.split.get("val_fraction", VAL_FRACTION)
    if (seed, val_fraction) == (0, VAL_FRACTION):  # as the part was opened; a million files are not listed again
        return
    if fingerprint(open_data_split(data, part.name, dict(net.config.split))) != fingerprint(part):
        raise VerydeepError(
            f"{net.path} was trained on another division of {data} (--seed {seed}, --val-fraction {val_fraction:g}), "
            "so it may have learned from images that the others are tested on: move it elsewhere and let reproduce "
            "train it, or give val/ a folder beside train/."
        )
