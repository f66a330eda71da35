"""Trained nets on the disk, and which of them answers for a member of a protocol."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from verydeep.configs.localization import LocalizationNet, LocalizationProtocol
from verydeep.configs.networks import PAPER_FC_WIDTH
from verydeep.configs.protocols import EvalProtocol, TrainedNet
from verydeep.configs.scales import TrainScale
from verydeep.data.folder import WNID
from verydeep.data.split import Split
from verydeep.engine.checkpoint import RunFolder, Weights, is_net, looks_like_a_net, model_folder
from verydeep.engine.source import VAL_FRACTION, fingerprint, open_part
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import (
    CLASSIFIER,
    CONFIG,
    WEIGHTS,
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
    def open(cls, path: Path, weights: Weights = "last") -> "Net":
        """Read what travels with the net, not its weights.

        Raises:
            VerydeepError: the folder is neither a run nor a model folder, or damaged.
        """
        folder = model_folder(path, weights)
        return cls(path, folder, load_config(folder), weights=weights)

    @property
    def told_path(self) -> str:
        """How it is found again from anywhere: a folder or file by its whole path, a published net by its name."""
        return str(self.path.resolve()) if self.path.exists() else self.path.as_posix()

    def load(self) -> VGG:
        """The net itself, in eval mode."""
        model = load_model(self.folder)[0]
        if self.outputs is not None:
            model.keep_outputs(self.outputs)
        return model

    def telling(self, class_names: tuple[str, ...]) -> "Net | None":
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
    def trained(self) -> TrainedNet | LocalizationNet | None:
        """Which of the paper's nets this is.

        None at another width, where the train scale is not known, or where it began with weights of another system:
        the paper's nets began with random ones, or with net A's.
        """
        config = self.config
        if "descends_from" in config.provenance:
            return None
        if config.width != 1 or config.fc_width != PAPER_FC_WIDTH or config.scale is None:
            return None
        scale = TrainScale.parse(config.scale)
        if config.regression is not None:
            return LocalizationNet(config.network, scale, config.regression, config.fine_tuned)
        return TrainedNet(config.network, scale, config.fine_tuned)

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
        return "imported_from" in self.config.provenance

    @property
    def foreign(self) -> bool:
        """Whether another system trained it, or what it started from."""
        return self.imported or "descends_from" in self.config.provenance

    @property
    def ended(self) -> bool:
        """Whether its training came to its end; of a net that another system trained nothing else is known."""
        return self.imported or "converged" in self.config.provenance

    @property
    def converged(self) -> bool:
        """Whether its training made all of its drops of the learning rate, as far as we know."""
        return bool(self.config.provenance.get("converged", self.imported))

    def __str__(self) -> str:
        return str(self.trained or self.path.name)


@dataclass(frozen=True)
class NetAtScales:
    """A net and the test scales Q at which it is asked: a member of a protocol, found on the disk."""

    net: Net
    scales: tuple[int, ...]


def find_nets(folder: Path, weights: Weights = "last") -> list[Net]:
    """The nets of all runs and model folders directly in ``folder``, sorted by path; started runs without weights too.

    Raises:
        VerydeepError: a config.json is damaged.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        paths = sorted(Path(entry.path) for entry in entries if entry.is_dir())
    inside = "model" if weights == "last" else "best"
    holding = [path for path in paths if (path / inside / CONFIG).exists()]
    if weights == "last":
        holding += [path for path in paths if (path / CONFIG).exists()]
    return [Net.open(path, weights) for path in sorted(holding)]


@dataclass(frozen=True)
class Collection:
    """Where the nets of a protocol are looked for: in a folder of runs, and among nets that are named one by one."""

    folder: Path = Path("runs")
    """Also where new runs go."""
    named: tuple[Path, ...] = ()
    """Runs, model folders, weight files and published nets."""

    @classmethod
    def parse(cls, text: str) -> "Collection":
        """Read "runs", "oxford-vgg16,oxford-vgg19" or "runs,oxford-vgg16": at most one folder of runs among nets.

        Raises:
            VerydeepError: there are two folders of runs, or a net is not there.
        """
        parts = [text] if Path(text).is_dir() else [part for part in text.split(",") if part]
        named = tuple(Path(part) for part in parts if is_net(Path(part)))
        folders = [Path(part) for part in parts if Path(part) not in named]
        if strange := [each for each in folders if not each.is_dir() and (named or looks_like_a_net(each))]:
            raise VerydeepError(
                f"--runs {text}: {strange[0]} is neither a folder of runs nor a net that is there: give its path, or "
                "the name of a published net (verydeep convert --help has them)."
            )
        if len(folders) > 1:
            raise VerydeepError(
                f"--runs {text}: {folders[0]} and {folders[1]} are two folders of runs, and no nets: give one folder, "
                "and nets beside it."
            )
        return cls(folders[0] if folders else Path("runs"), named)

    def nets(self, weights: Weights = "last") -> list[Net]:
        """All of them.

        Raises:
            VerydeepError: a config.json is damaged, a net that is named is not there, or has no best weights.
        """
        inside = [net for net in find_nets(self.folder, weights) if net.path not in self.named]
        return [*inside, *(Net.open(path, weights) for path in self.named)]

    def __str__(self) -> str:
        return ", ".join(map(str, (*self.named, self.folder)))


def answering(
    wanted: TrainedNet | LocalizationNet, nets: Iterable[Net], class_names: Sequence[str], crop: int
) -> Mapping[int, Net]:
    """Seed -> the net that answers for one of the paper's: same network, S, fine-tuned layers, classes and crop.

    Of nets that were imported, which know ILSVRC's classes by their WNIDs, the outputs are taken that are asked for.

    Raises:
        VerydeepError: two nets of the same seed do.
    """
    found: dict[int, Net] = {}
    for each in nets:
        net = each.telling(tuple(class_names)) if each.imported else each
        if net is None or net.config.class_names != tuple(class_names):
            continue
        if net.trained != wanted or net.config.crop != crop:
            continue
        if net.config.seed in found:
            raise VerydeepError(
                f"Two runs answer for {wanted} with seed {net.config.seed}: {found[net.config.seed].path} and "
                f"{net.path}; move one of them elsewhere."
            )
        found[net.config.seed] = net
    return found


def nets_by_seed(
    protocol: EvalProtocol | LocalizationProtocol, nets: Sequence[Net], class_names: Sequence[str], crop: int
) -> dict[int, list[NetAtScales]]:
    """Seed -> the nets that answer for the members of a protocol; seeds that lack one, or its weights, are left out.

    Raises:
        VerydeepError: as ``answering``.
    """
    saved = [net for net in nets if (net.folder / WEIGHTS).exists()]
    each = [answering(member.net, saved, class_names, crop) for member in protocol.members]
    scales = [member.test_scales for member in protocol.members]
    return {
        seed: [NetAtScales(found[seed], asked) for found, asked in zip(each, scales, strict=True)]
        for seed in sorted(set.intersection(*map(set, each)))
    }


def required_by_seed(
    protocol: EvalProtocol | LocalizationProtocol,
    runs: Collection,
    class_names: Sequence[str],
    crop: int,
    weights: Weights = "last",
) -> dict[int, list[NetAtScales]]:
    """The same of all runs, where at least one seed has to have them all.

    Raises:
        VerydeepError: a member has no run, two of one seed, or no seed has them all.
    """
    nets = runs.nets(weights)
    for member in protocol.members:
        if not answering(member.net, nets, class_names, crop):
            raise VerydeepError(
                f"No run in {runs} answers for {member.net} at crop {crop} with these {len(class_names)} classes: "
                "train it, or give another --runs or --crop."
            )
    found = nets_by_seed(protocol, nets, class_names, crop)
    if not found:
        raise VerydeepError(f"{runs} has runs for each member of {protocol}, but no seed has them all: train the rest.")
    return found


def check_classes(split: Split, net: Net) -> None:
    """Refuse a data set whose classes the net does not know.

    Raises:
        VerydeepError: it is a trunk, or the number, names or order of its classes differ, and are not all WNIDs.
    """
    refuse_trunk(net.config, net.path)
    if net.telling(split.class_names) is None:
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


def check_division(net: Net, data: str, part: Split) -> None:
    """Refuse a net that divided the same folder otherwise, and so may have been trained on what it is tested on.

    Raises:
        VerydeepError: it did.
    """
    seed, val_fraction = net.config.split.get("seed", 0), net.config.split.get("val_fraction", VAL_FRACTION)
    if (seed, val_fraction) == (0, VAL_FRACTION):  # as the part was opened; a million files are not listed again
        return
    if fingerprint(open_part(data, part.name, dict(net.config.split))) != fingerprint(part):
        raise VerydeepError(
            f"{net.path} was trained on another division of {data} (--seed {seed}, --val-fraction {val_fraction:g}), "
            "so it may have learned from images that the others are tested on: move it elsewhere and let reproduce "
            "train it, or give val/ a folder beside train/."
        )
