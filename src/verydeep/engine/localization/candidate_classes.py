"""Which classes boxes are wanted of: the true one, and the best five of a classification protocol (appendix A.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verydeep.configs.protocols import View
from verydeep.data.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.classification.evaluation import FusedPosteriors, fuse_posteriors, predict_views
from verydeep.engine.inference import SINGLE_VIEWS, ViewAtScale
from verydeep.engine.nets.digests import digest_of_net
from verydeep.engine.nets.net import EnsembleMember
from verydeep.engine.runtime import Runtime
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.ops.metrics import Share, topk_for, wilson


@dataclass(frozen=True)
class ClassSource:
    """Where the classes of the boxes come from: a classification protocol, found on the disk."""

    nets: tuple[EnsembleMember, ...]
    view: View
    told: str
    """For reports."""

    @classmethod
    def of_box_nets(cls, members: Sequence[EnsembleMember], view: View) -> "ClassSource":
        """The classification nets that box nets started from, at the same scales, in the same view.

        Raises:
            VerydeepError: such a net, or its weights, are not there.
        """
        own: dict[str, EnsembleMember] = {}
        names: dict[str, str] = {}
        for member in members:
            net = member.net.classifier
            digest = digest_of_net(net)  # several box nets may have started from one net, each with a copy of it
            known = own.get(digest, EnsembleMember(net, ()))
            own[digest] = EnsembleMember(known.net, tuple(sorted({*known.scales, *member.scales})))
            names.setdefault(digest, str(net.paper_net() or f"{member.net}/{net.path.name}"))
        told = " + ".join(f"{names[key]}/{','.join(map(str, each.scales))}" for key, each in own.items())
        return cls(tuple(own.values()), view, f"{told} : {view}")


@dataclass(frozen=True, eq=False)
class CandidateClasses:
    """Of which images, and for which of its classes, boxes are wanted."""

    indices: Int64Array
    """(n,) in the split, ascending."""
    guesses: Int64Array
    """(n, g) the best classes of the classification protocol, best first; none, if it is not asked."""
    posteriors: Float32Array
    """(n, g) what the classification protocol gives each of them."""
    labels: Int64Array | None
    """(n,) the true classes, where they are known."""

    @property
    def classes(self) -> Int64Array:
        """(n, G) all classes that boxes are asked for: the true one first, where it is known."""
        return self.guesses if self.labels is None else np.concatenate([self.labels[:, None], self.guesses], axis=1)

    @property
    def class_error(self) -> Share:
        """How often the true class is not among the guesses, which no box can mend."""
        assert self.labels is not None
        wrong = (self.guesses != self.labels[:, None]).all(axis=1)
        return wilson(int(wrong.sum()), len(wrong))

    def subset(self, rows: Int64Array) -> "CandidateClasses":
        """About some of the images."""
        labels = None if self.labels is None else self.labels[rows]
        return CandidateClasses(self.indices[rows], self.guesses[rows], self.posteriors[rows], labels)


def choose_classes(
    source: ClassSource | None,
    split: Split,
    runtime: Runtime,
    decoding: Decoding,
    *,
    top: int | None = None,
    keep: bool = True,
) -> CandidateClasses:
    """The best classes of each image, the same on all processes.

    Args:
        source: who guesses; None: nobody does, and the true class is asked for alone.
        split: the images.
        runtime: of this process.
        decoding: of files.
        top: how many classes; None: five, or what fewer than six classes allow.
        keep: whether the posteriors are kept for the next time.

    Raises:
        VerydeepError: as ``predict_views``.
    """
    if source is None:
        assert split.labels is not None
        nothing = np.zeros((len(split), 0))
        return CandidateClasses(
            np.arange(len(split)), nothing.astype(np.int64), nothing.astype(np.float32), split.labels
        )
    said: list[FusedPosteriors] = []
    for each in source.nets:
        views = [ViewAtScale(view, scale) for view in SINGLE_VIEWS[source.view] for scale in each.scales]
        seen = predict_views(each.net, views, split, runtime, f"Classes by {each.net}", decoding, keep=keep)
        if seen is not None:
            said.append(FusedPosteriors(seen.indices, seen.mean(source.view, each.scales)))
    found = best_classes(fuse_posteriors(said), top) if said else None
    indices, guesses, posteriors = next(each for each in runtime.gather(found) if each is not None)
    return CandidateClasses(indices, guesses, posteriors, None if split.labels is None else split.labels[indices])


def best_classes(said: FusedPosteriors, top: int | None = None) -> tuple[Int64Array, Int64Array, Float32Array]:
    """Indices (n,), the most probable classes (n, g), best first, of equals the first, and their posteriors (n, g)."""
    most = topk_for(said.posteriors.shape[1]) if top is None else top
    guesses = np.argsort(-said.posteriors, axis=1, kind="stable")[:, :most]
    return said.indices, guesses, np.take_along_axis(said.posteriors, guesses, axis=1)
