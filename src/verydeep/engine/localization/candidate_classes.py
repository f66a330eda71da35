"""Candidate classes of boxes: the true class, and the best five of a classification protocol (appendix A.2)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from verydeep.configs.protocols import View
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.classification.ensemble_errors import predict_views
from verydeep.engine.inference import SINGLE_VIEWS, ViewAtScale
from verydeep.engine.nets.digests import digest_of_net
from verydeep.engine.nets.net import EnsembleMember
from verydeep.engine.posteriors import fuse_posteriors
from verydeep.engine.runtime import Runtime
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.ops.metrics import Share, order_classes, topk_for, wilson_interval


@dataclass(frozen=True)
class ClassSource:
    """Source of the classes of boxes: the nets of a classification protocol."""

    members: tuple[EnsembleMember, ...]
    view: View
    text: str
    """The protocol, for reports."""


def find_source_nets(members: Sequence[EnsembleMember], view: View) -> ClassSource:
    """Find the source nets of localization nets, each once, at the same test scales in the same view.

    Raises:
        WeightsError: a source net or its weights are missing.
    """
    sources: dict[str, EnsembleMember] = {}
    names: dict[str, str] = {}
    for member in members:
        net = member.net.classifier
        digest = digest_of_net(net)  # localization nets of the same source net each have their own copy of it
        source = sources.get(digest, EnsembleMember(net, ()))
        sources[digest] = EnsembleMember(source.net, tuple(sorted({*source.scales, *member.scales})))
        paper_net = net.paper_net(net.config.width, net.config.fc_width)
        names.setdefault(digest, str(paper_net or f"{member.net}/{net.path.name}"))
    text = " + ".join(f"{names[digest]}/{','.join(map(str, source.scales))}" for digest, source in sources.items())
    return ClassSource(tuple(sources.values()), view, f"{text} : {view}")


@dataclass(frozen=True, eq=False)
class CandidateClasses:
    """The classes for which boxes are predicted, for n images of a split."""

    indices: Int64Array
    """(n,) indices in the split, ascending."""
    guesses: Int64Array
    """(n, g) best classes of the classification protocol, best first; g is 0 for the true class alone."""
    posteriors: Float32Array
    """(n, g) posteriors of these classes."""
    labels: Int64Array | None
    """(n,) true classes, where they are known."""

    @property
    def classes(self) -> Int64Array:
        """(n, G) all candidate classes: first the true class, if it is known, then the guesses."""
        return self.guesses if self.labels is None else np.concatenate([self.labels[:, None], self.guesses], axis=1)

    @property
    def class_error(self) -> Share:
        """Share of images whose true class is not among the guesses."""
        assert self.labels is not None
        wrong = (self.guesses != self.labels[:, None]).all(axis=1)
        return wilson_interval(int(wrong.sum()), len(wrong))

    def subset(self, rows: Int64Array) -> "CandidateClasses":
        """Return the candidate classes of some of the images."""
        labels = None if self.labels is None else self.labels[rows]
        return CandidateClasses(self.indices[rows], self.guesses[rows], self.posteriors[rows], labels)


def choose_classes(
    source: ClassSource | None,
    split: Split,
    runtime: Runtime,
    decoding: Decoding,
    *,
    top: int | None = None,
    cache: bool = True,
) -> CandidateClasses:
    """Choose the best classes of each image; all processes get the same.

    Args:
        source: the nets that predict classes; None: the true class alone.
        split: the images.
        runtime: of this process.
        decoding: of the image files.
        top: number of classes; None: five, or fewer where the data set has fewer than six classes.
        cache: whether posteriors are read from the cache and written to it.

    Raises:
        DataError: an image cannot be decoded, or none of them.
        WeightsError: a net of ``source`` has no weights.
    """
    if source is None:
        assert split.labels is not None
        no_guesses = np.zeros((len(split), 0))
        return CandidateClasses(
            np.arange(len(split)), no_guesses.astype(np.int64), no_guesses.astype(np.float32), split.labels
        )
    parts: list[tuple[Int64Array, Float32Array]] = []
    for member in source.members:
        views = [ViewAtScale(view, scale) for view in SINGLE_VIEWS[source.view] for scale in member.scales]
        title = f"Classes by {member.net}"
        predictions = predict_views(member.net, views, split, runtime, title, decoding, use_cache=cache)
        if predictions is not None:
            parts.append((predictions.indices, predictions.mean(source.view, member.scales)))
    best = runtime.from_main(select_best_classes(*fuse_posteriors(parts), top) if parts else None)
    assert best is not None
    return best if split.labels is None else replace(best, labels=split.labels[best.indices])


def select_best_classes(indices: Int64Array, posteriors: Float32Array, top: int | None = None) -> CandidateClasses:
    """Select the most probable classes of each image; among equals, the smaller label is better."""
    count = topk_for(posteriors.shape[1]) if top is None else top
    guesses = order_classes(posteriors)[:, :count]
    return CandidateClasses(indices, guesses, np.take_along_axis(posteriors, guesses, axis=1), labels=None)
