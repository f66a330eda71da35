"""Trained nets on the disk, and which of them answers for a member of a protocol."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verydeep.configs.networks import PAPER_FC_WIDTH
from verydeep.configs.protocols import EvalProtocol, TrainedNet
from verydeep.configs.scales import TrainScale
from verydeep.engine.checkpoint import Weights, model_folder
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import CONFIG, WEIGHTS, ModelConfig, load_config, load_model


@dataclass(frozen=True)
class Net:
    """A net as a command names it."""

    path: Path
    """The run or model folder."""
    folder: Path
    """The model folder."""
    config: ModelConfig

    @classmethod
    def open(cls, path: Path, weights: Weights = "last") -> "Net":
        """Read what travels with the net, not its weights.

        Raises:
            VerydeepError: the folder is neither a run nor a model folder, or damaged.
        """
        folder = model_folder(path, weights)
        return cls(path, folder, load_config(folder))

    def load(self) -> VGG:
        """The net itself, in eval mode."""
        return load_model(self.folder)[0]

    @property
    def trained(self) -> TrainedNet | None:
        """Which of the paper's nets this is; None at another width, or where the train scale is not known."""
        config = self.config
        if config.width != 1 or config.fc_width != PAPER_FC_WIDTH or config.scale is None:
            return None
        return TrainedNet(config.network, TrainScale.parse(config.scale), config.fine_tuned)

    @property
    def ended(self) -> bool:
        """Whether its training came to its end."""
        return "converged" in self.config.provenance

    @property
    def converged(self) -> bool:
        """Whether its training made all of its drops of the learning rate."""
        return bool(self.config.provenance.get("converged"))

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


def answering(wanted: TrainedNet, nets: Iterable[Net], class_names: Sequence[str], crop: int) -> Mapping[int, Net]:
    """Seed -> the net that answers for one of the paper's: same network, S, fine-tuned layers, classes and crop.

    Raises:
        VerydeepError: two nets of the same seed do.
    """
    found: dict[int, Net] = {}
    for net in nets:
        if net.trained != wanted or net.config.crop != crop or net.config.class_names != tuple(class_names):
            continue
        if net.config.seed in found:
            raise VerydeepError(
                f"Two runs answer for {wanted} with seed {net.config.seed}: {found[net.config.seed].path} and "
                f"{net.path}; move one of them elsewhere."
            )
        found[net.config.seed] = net
    return found


def nets_by_seed(
    protocol: EvalProtocol, nets: Sequence[Net], class_names: Sequence[str], crop: int
) -> dict[int, list[NetAtScales]]:
    """Seed -> the nets that answer for the members of a protocol; seeds that lack one, or its weights, are left out.

    Raises:
        VerydeepError: as ``answering``.
    """
    saved = [net for net in nets if (net.folder / WEIGHTS).exists()]
    each = [answering(member.net, saved, class_names, crop) for member in protocol.members]
    return {
        seed: [
            NetAtScales(found[seed], member.test_scales) for found, member in zip(each, protocol.members, strict=True)
        ]
        for seed in sorted(set.intersection(*map(set, each)))
    }


def required_by_seed(
    protocol: EvalProtocol, runs: Path, class_names: Sequence[str], crop: int, weights: Weights = "last"
) -> dict[int, list[NetAtScales]]:
    """The same of a folder of runs, where at least one seed has to have them all.

    Raises:
        VerydeepError: a member has no run, two of one seed, or no seed has them all.
    """
    nets = find_nets(runs, weights)
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
