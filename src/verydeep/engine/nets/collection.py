"""Nets of a folder of runs, and those that match the members of a protocol."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from verydeep.configs.protocols import EvaluationProtocol, PaperNet
from verydeep.engine.launching import is_main
from verydeep.engine.log import Log
from verydeep.engine.nets.folders import Weights, is_net, looks_like_a_net
from verydeep.engine.nets.net import EnsembleMember, Net, NetShape
from verydeep.errors import OptionError, WeightsError
from verydeep.models.weights.model_folder import CONFIG, WEIGHTS


def find_nets(folder: Path, weights: Weights = "last", reported: set[Path] | None = None) -> list[Net]:
    """Return the nets of all runs and model folders directly in ``folder``, sorted by path.

    Runs that have not saved weights yet are among them. Damaged ones are not: a note names each, except those that are
    ``reported`` already, to which it is added.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        paths = [Path(entry.path) for entry in entries if entry.is_dir()]
    subfolder = "model" if weights == "last" else "best"
    found = [path for path in paths if (path / subfolder / CONFIG).exists()]
    if weights == "last":
        found += [path for path in paths if (path / CONFIG).exists()]
    nets, reported = [], set() if reported is None else reported
    for path in sorted(found):
        try:
            nets.append(Net.open(path, weights))
        except WeightsError as error:
            if path not in reported:
                reported.add(path)
                Log(silent=not is_main()).info(f"Left out: {error}")
    return nets


@dataclass(frozen=True)
class Collection:
    """Nets that may match a protocol: those of a folder of runs, and nets that are named one by one."""

    folder: Path = Path("runs")
    """The folder of runs, where new runs go, too."""
    named: tuple[Path, ...] = ()
    """Runs, model folders, weight files and published nets."""
    _reported: set[Path] = field(default_factory=set, compare=False, repr=False)
    """Damaged runs of the folder that a note has named."""

    @classmethod
    def parse(cls, text: str) -> "Collection":
        """Read "runs", "oxford-vgg16,oxford-vgg19" or "runs,oxford-vgg16": nets and at most one folder of runs.

        Raises:
            OptionError: there are two folders of runs, or a net does not exist.
        """
        parts = [text] if Path(text).is_dir() else [part for part in text.split(",") if part]
        named = tuple(Path(part) for part in parts if is_net(Path(part)))
        folders = [Path(part) for part in parts if Path(part) not in named]
        if unknown := [each for each in folders if not each.is_dir() and (len(parts) > 1 or looks_like_a_net(each))]:
            raise OptionError(
                f"`runs={text}`: {unknown[0]} is neither a folder of runs nor a net: give a path that exists, or the "
                "name of a published net (`verydeep convert --help` lists them).",
                "runs",
            )
        if len(folders) > 1:
            raise OptionError(
                f"`runs={text}`: {folders[0]} and {folders[1]} are two folders of runs: give one folder, and single "
                "nets in addition.",
                "runs",
            )
        return cls(folders[0] if folders else Path("runs"), named)

    def nets(self, weights: Weights = "last") -> list[Net]:
        """Return all nets, without damaged ones of the folder, which notes name once.

        Raises:
            WeightsError: a named net is damaged, does not exist, or has no best weights.
        """
        found = find_nets(self.folder, weights, self._reported)
        others = [net for net in found if net.path not in self.named]
        return [*others, *(Net.open(path, weights) for path in self.named)]

    def __str__(self) -> str:
        return ", ".join(map(str, (*self.named, self.folder)))


def find_matching_nets(net: PaperNet, nets: Iterable[Net], shape: NetShape) -> Mapping[int, Net]:
    """Return seed -> the net that matches one of the paper's: same network, S, fine-tuned layers and shape.

    Imported nets, which know ILSVRC's classes by their WNIDs, match with the outputs of the classes of the shape.

    Raises:
        WeightsError: two nets of one seed match.
    """
    found: dict[int, Net] = {}
    for each in nets:
        candidate = each.with_outputs_for(shape.class_names) if each.imported else each
        if candidate is None or not candidate.matches(net, shape):
            continue
        seed = candidate.config.seed
        if seed in found:
            raise WeightsError(
                f"{found[seed].path} and {candidate.path} are both {net} with seed {seed}: move one of them to another "
                "folder."
            )
        found[seed] = candidate
    return found


def ensembles_by_seed(
    protocol: EvaluationProtocol, nets: Sequence[Net], shape: NetShape
) -> dict[int, list[EnsembleMember]]:
    """Return seed -> the nets that match a protocol's members, without seeds that lack a net or its weights.

    Raises:
        WeightsError: two nets of one seed match one member.
    """
    saved = [net for net in nets if (net.folder / WEIGHTS).exists()]
    matches = [find_matching_nets(member.net, saved, shape) for member in protocol.members]
    scales = [member.test_scales for member in protocol.members]
    return {
        seed: [EnsembleMember(by_seed[seed], each) for by_seed, each in zip(matches, scales, strict=True)]
        for seed in sorted(set.intersection(*map(set, matches)))
    }


def required_ensembles(
    protocol: EvaluationProtocol, runs: Collection, shape: NetShape, weights: Weights = "last"
) -> dict[int, list[EnsembleMember]]:
    """Return seed -> the nets of a collection that match a protocol's members; at least one seed has to.

    Raises:
        WeightsError: a member has no run, or two of one seed, or no seed has runs for all members.
    """
    nets = runs.nets(weights)
    for member in protocol.members:
        if not find_matching_nets(member.net, nets, shape):
            raise WeightsError(
                f"{runs} has no net {member.net} with crop {shape.crop} and the data's {len(shape.class_names)} "
                "classes: train one, or give another `runs` or `crop`."
            )
    found = ensembles_by_seed(protocol, nets, shape)
    if not found:
        raise WeightsError(f"No seed has a run for every member of {protocol} in {runs}: train the missing ones.")
    return found
