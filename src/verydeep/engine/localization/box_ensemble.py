"""Which localization nets answer together, and who names the classes of their boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

from verydeep.configs.protocols import Classes, EvaluationProtocol, LocalizationView, default_classes
from verydeep.data.split import Split
from verydeep.engine.localization.candidate_classes import ClassSource
from verydeep.engine.nets.checks import refuse_classes
from verydeep.engine.nets.collection import Collection, ensembles_by_seed, required_ensembles
from verydeep.engine.nets.folders import Weights
from verydeep.engine.nets.net import EnsembleMember, Net, NetShape
from verydeep.errors import VerydeepError


@dataclass(frozen=True)
class BoxEnsemble:
    """Localization nets whose boxes are pooled, and where the classes of these boxes come from."""

    members: tuple[EnsembleMember, ...]
    view: LocalizationView
    classes: ClassSource | None
    """None: the truth alone, which a classification protocol does not guess."""

    @property
    def nets(self) -> list[Net]:
        """All that are asked, each once."""
        guessing = () if self.classes is None else self.classes.nets
        return list(dict.fromkeys(member.net for member in (*self.members, *guessing)))

    def check(self, split: Split) -> None:
        """Refuse a data set whose classes are not those of all nets.

        Raises:
            VerydeepError: the classes differ.
        """
        for net in self.nets:
            if net.config.class_names != split.class_names:  # boxes have no outputs to choose from by WNID
                refuse_classes(split, net)


def box_ensemble(
    members: Sequence[EnsembleMember],
    view: LocalizationView,
    classes: Classes | None,
    runs: Collection,
    weights: Weights = "last",
) -> BoxEnsemble:
    """Named nets, with the true classes, those of a protocol of runs in a folder, or of the nets they started from.

    Raises:
        VerydeepError: a net predicts no boxes; no run, or two of one seed, answer for the classes; a net that rates
            boxes is not there.
    """
    for member in members:
        if member.net.config.regression is None:
            raise VerydeepError(
                f"{member.net.path} predicts classes and no boxes: leave --task localize out, or train a net that "
                "does with verydeep train --task localize --init-from it."
            )
    if classes == "truth":
        return BoxEnsemble(tuple(members), view, None)
    if classes is None:
        return BoxEnsemble(tuple(members), view, ClassSource.of_box_nets(members, view))
    config = members[0].net.config
    shape = NetShape(config.class_names, config.crop, config.width, config.fc_width)
    found = required_ensembles(classes, runs, shape, weights)
    seed = config.seed if config.seed in found else min(found)
    told = str(classes) if seed == config.seed else f"{classes} (seed {seed})"
    return BoxEnsemble(tuple(members), view, ClassSource(tuple(found[seed]), classes.view, told))


def box_ensembles_by_seed(protocol: EvaluationProtocol, nets: Sequence[Net], shape: NetShape) -> dict[int, BoxEnsemble]:
    """Seed -> who answers for a protocol; seeds that lack a net, or its weights, are left out.

    Raises:
        VerydeepError: as ``find_answering_nets``.
    """
    members = ensembles_by_seed(protocol, nets, shape)
    sources: dict[int, ClassSource | None]
    if protocol.classes == "truth":
        sources = dict.fromkeys(members)
    elif protocol.classes == default_classes(protocol.members, protocol.view):
        sources = {seed: ClassSource.of_box_nets(each, protocol.box_view) for seed, each in members.items()}
    else:
        assert protocol.classes is not None
        view, told = protocol.classes.view, str(protocol.classes)
        found = ensembles_by_seed(protocol.classes, nets, shape)
        sources = {seed: ClassSource(tuple(each), view, told) for seed, each in found.items()}
    return {
        seed: BoxEnsemble(tuple(each), protocol.box_view, sources[seed])
        for seed, each in members.items()
        if seed in sources
    }


def required_box_ensembles(
    protocol: EvaluationProtocol, runs: Collection, shape: NetShape, weights: Weights
) -> list[BoxEnsemble]:
    """The same of a folder of runs, where at least one seed has to have them all; one for each seed.

    Raises:
        VerydeepError: a member has no run, two of one seed, or no seed has them all.
    """
    required_ensembles(protocol, runs, shape, weights)
    if protocol.classes not in ("truth", default_classes(protocol.members, protocol.view)):
        assert isinstance(protocol.classes, EvaluationProtocol)
        required_ensembles(protocol.classes, runs, shape, weights)
    found = box_ensembles_by_seed(protocol, runs.nets(weights), shape)
    if not found:
        raise VerydeepError(
            f"{runs} has runs for each member of {protocol}, but no seed has runs for all: train the others."
        )
    return list(found.values())
