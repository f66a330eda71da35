"""The nets of a folder of runs, and which of them answers for a member of a protocol."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verydeep.configs.protocols import EvaluationProtocol, PaperNet
from verydeep.engine.nets.folders import Weights, is_net, looks_like_a_net
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.errors import VerydeepError
from verydeep.models.weights.native import CONFIG, WEIGHTS


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


def find_answering_nets(
    wanted: PaperNet, nets: Iterable[Net], class_names: Sequence[str], crop: int
) -> Mapping[int, Net]:
    """Seed -> the net that answers for one of the paper's: same network, S, fine-tuned layers, classes and crop.

    Of nets that were imported, which know ILSVRC's classes by their WNIDs, the outputs are taken that are asked for.

    Raises:
        VerydeepError: two nets of the same seed do.
    """
    found: dict[int, Net] = {}
    for each in nets:
        net = each.with_outputs_for(tuple(class_names)) if each.imported else each
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


def ensembles_by_seed(
    protocol: EvaluationProtocol, nets: Sequence[Net], class_names: Sequence[str], crop: int
) -> dict[int, list[EnsembleMember]]:
    """Seed -> the nets that answer for the members of a protocol; seeds that lack one, or its weights, are left out.

    Raises:
        VerydeepError: as ``find_answering_nets``.
    """
    saved = [net for net in nets if (net.folder / WEIGHTS).exists()]
    each = [find_answering_nets(member.net, saved, class_names, crop) for member in protocol.members]
    scales = [member.test_scales for member in protocol.members]
    return {
        seed: [EnsembleMember(found[seed], asked) for found, asked in zip(each, scales, strict=True)]
        for seed in sorted(set.intersection(*map(set, each)))
    }


def required_ensembles(
    protocol: EvaluationProtocol,
    runs: Collection,
    class_names: Sequence[str],
    crop: int,
    weights: Weights = "last",
) -> dict[int, list[EnsembleMember]]:
    """The same of all runs, where at least one seed has to have them all.

    Raises:
        VerydeepError: a member has no run, two of one seed, or no seed has them all.
    """
    nets = runs.nets(weights)
    for member in protocol.members:
        if not find_answering_nets(member.net, nets, class_names, crop):
            raise VerydeepError(
                f"No run in {runs} answers for {member.net} at crop {crop} with these {len(class_names)} classes: "
                "train it, or give another --runs or --crop."
            )
    found = ensembles_by_seed(protocol, nets, class_names, crop)
    if not found:
        raise VerydeepError(f"{runs} has runs for each member of {protocol}, but no seed has them all: train the rest.")
    return found
