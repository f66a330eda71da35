"""Ensembles of localization nets, with the source of the classes of their boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

from verydeep.configs.protocols import Classes, EvaluationProtocol, LocalizationView, default_classes
from verydeep.data.split import Split
from verydeep.engine.localization.candidate_classes import ClassSource, find_source_nets
from verydeep.engine.nets.checks import check_known, match_classes
from verydeep.engine.nets.collection import Collection, ensembles_by_seed, required_ensembles
from verydeep.engine.nets.folders import Weights
from verydeep.engine.nets.net import EnsembleMember, Net, NetShape
from verydeep.errors import WeightsError


@dataclass(frozen=True)
class BoxEnsemble:
    """Localization nets whose boxes are pooled, and the source of the classes of these boxes."""

    members: tuple[EnsembleMember, ...]
    view: LocalizationView
    classes: ClassSource | None
    """None: the true classes."""

    @property
    def nets(self) -> list[Net]:
        """All nets of the ensemble, each once: those that predict boxes, and those that predict classes."""
        class_members = () if self.classes is None else self.classes.members
        return list(dict.fromkeys(member.net for member in (*self.members, *class_members)))

    def align_classes(self, split: Split) -> Split:
        """Return the split with the classes of the nets, which are all predicted; labels are matched by name.

        Raises:
            DataError: an image has a class that the nets do not know.
            WeightsError: nets have different classes, or no names for them.
        """
        first = self.nets[0]
        for net in self.nets:
            check_known(split, net.class_names, net.path)
            if net.class_names != first.class_names:  # boxes have no outputs to choose from
                raise WeightsError(
                    f"{net.path} has other classes than {first.path}: an ensemble needs nets of the same classes."
                )
        return match_classes(split, first.class_names, first.config.class_words)


def build_box_ensemble(
    members: Sequence[EnsembleMember],
    view: LocalizationView,
    classes: Classes | None,
    runs: Collection,
    weights: Weights = "last",
) -> BoxEnsemble:
    """Build an ensemble of these localization nets.

    Args:
        members: localization nets and their test scales.
        view: the view of all members.
        classes: where the classes of the boxes come from: the truth, or a protocol of nets in ``runs``, if possible
            with the seed of the first member; None: the source nets of the members.
        runs: where the nets of ``classes`` are looked for.
        weights: the weights of these nets.

    Raises:
        WeightsError: a net predicts no boxes, a net of ``classes`` or a source net is missing, or two runs have the
            same net and seed.
    """
    for member in members:
        if member.net.config.regression is None:
            raise WeightsError(
                f"{member.net.path} predicts classes, not boxes: evaluate it without `task=localize`, or train a "
                "localization net from it with `task=localize` and `init_from`."
            )
    if classes == "truth":
        return BoxEnsemble(tuple(members), view, None)
    if classes is None:
        return BoxEnsemble(tuple(members), view, find_source_nets(members, view))
    config = members[0].net.config
    shape = NetShape(config.class_names, *config.sizes)
    ensembles = required_ensembles(classes, runs, shape, weights)
    seed = config.seed if config.seed in ensembles else min(ensembles)
    text = str(classes) if seed == config.seed else f"{classes} (seed {seed})"
    return BoxEnsemble(tuple(members), view, ClassSource(tuple(ensembles[seed]), classes.view, text))


def find_box_ensembles(protocol: EvaluationProtocol, nets: Sequence[Net], shape: NetShape) -> dict[int, BoxEnsemble]:
    """Find the ensemble of each seed for a protocol of localization nets; omit seeds that lack a net or its weights.

    Raises:
        WeightsError: two nets of one seed fit the same member, or a source net is missing.
    """
    ensembles = ensembles_by_seed(protocol, nets, shape)
    sources: dict[int, ClassSource | None]
    if protocol.classes is None or protocol.classes == "truth":
        sources = dict.fromkeys(ensembles)
    elif protocol.classes == default_classes(protocol.members, protocol.view):
        sources = {seed: find_source_nets(members, protocol.view) for seed, members in ensembles.items()}
    else:
        class_ensembles = ensembles_by_seed(protocol.classes, nets, shape)
        sources = {
            seed: ClassSource(tuple(members), protocol.classes.view, str(protocol.classes))
            for seed, members in class_ensembles.items()
        }
    return {
        seed: BoxEnsemble(tuple(members), protocol.box_view, sources[seed])
        for seed, members in ensembles.items()
        if seed in sources
    }


def require_box_ensembles(
    protocol: EvaluationProtocol, runs: Collection, shape: NetShape, weights: Weights
) -> list[BoxEnsemble]:
    """Find the ensemble of each seed among runs; at least one seed must have all nets.

    Raises:
        WeightsError: a member has no run, two runs of one seed fit the same member, or no seed has all nets.
    """
    required_ensembles(protocol, runs, shape, weights)
    if isinstance(protocol.classes, EvaluationProtocol) and protocol.classes != default_classes(
        protocol.members, protocol.view
    ):
        required_ensembles(protocol.classes, runs, shape, weights)
    ensembles = find_box_ensembles(protocol, runs.nets(weights), shape)
    if not ensembles:
        raise WeightsError(f"No seed has a run for every member of {protocol} in {runs}: train the missing ones.")
    return list(ensembles.values())
