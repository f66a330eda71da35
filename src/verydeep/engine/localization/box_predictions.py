"""Candidate boxes that ensembles of localization nets predict for a split; each net sees each image once."""

from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from verydeep.configs.protocols import LocalizationView
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split, all_skipped_error
from verydeep.engine.inference import ViewAtScale, rescale_images
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.candidate_boxes import BoxNet, CandidateBoxes, pool_boxes, predict_in_parts
from verydeep.engine.localization.candidate_classes import CandidateClasses, choose_classes
from verydeep.engine.nets.checks import refuse_overflow
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.engine.progress import run_with_progress
from verydeep.engine.runtime import Runtime

NetBoxes = dict[ViewAtScale, dict[int, CandidateBoxes]]
"""View -> index of an image -> its candidate boxes; images that cannot be decoded are missing."""


@dataclass(frozen=True, eq=False)
class BoxPredictions:
    """The candidate boxes of an ensemble for images of a split."""

    ensemble: BoxEnsemble
    candidate_classes: CandidateClasses
    boxes: Mapping[Net, NetBoxes]
    """Candidate boxes of each net; empty on all processes but the main one."""

    def pool(
        self, members: Sequence[EnsembleMember] | None = None, view: LocalizationView | None = None
    ) -> list[CandidateBoxes]:
        """Pool the candidate boxes of each image over nets and test scales.

        Args:
            members: nets and test scales, by default those of the ensemble.
            view: by default that of the ensemble.
        """
        parts = [
            self.boxes[member.net][ViewAtScale(view or self.ensemble.view, scale)]
            for member in members or self.ensemble.members
            for scale in member.scales
        ]
        return [pool_boxes([part[index] for part in parts]) for index in self.candidate_classes.indices.tolist()]


def predict_boxes(
    ensembles: Sequence[BoxEnsemble],
    split: Split,
    runtime: Runtime,
    decoding: Decoding,
    extra_views: Sequence[LocalizationView] = (),
    *,
    top: int | None = None,
    cache: bool = True,
) -> dict[BoxEnsemble, BoxPredictions]:
    """Choose the candidate classes of each image, then predict their boxes with each ensemble.

    Args:
        ensembles: nets that they share see each image only once.
        split: the images; where they have labels, boxes of the true class are predicted too.
        runtime: of this process.
        decoding: of the image files.
        extra_views: views to predict besides those of the ensembles.
        top: number of guessed classes, by default five.
        cache: whether the posteriors of classes are read from the cache and written to it.

    Raises:
        DataError: an image cannot be decoded, or none of them.
        WeightsError: a net has no weights.
    """
    predictions: dict[BoxEnsemble, BoxPredictions] = {}
    for source in dict.fromkeys(ensemble.classes for ensemble in ensembles):
        candidate_classes = choose_classes(source, split, runtime, decoding, top=top, cache=cache)
        group = [ensemble for ensemble in ensembles if ensemble.classes == source]
        boxes = predict_group(group, candidate_classes, split, runtime, decoding, extra_views)
        if boxes:  # on the main process
            decoded = set.intersection(*(set(images) for views in boxes.values() for images in views.values()))
            if not decoded:
                raise all_skipped_error(split)
            candidate_classes = candidate_classes.subset(
                np.flatnonzero([index in decoded for index in candidate_classes.indices.tolist()])
            )
        predictions |= {ensemble: BoxPredictions(ensemble, candidate_classes, boxes) for ensemble in group}
    return predictions


def predict_group(
    ensembles: Sequence[BoxEnsemble],
    candidate_classes: CandidateClasses,
    split: Split,
    runtime: Runtime,
    decoding: Decoding,
    extra_views: Sequence[LocalizationView],
) -> dict[Net, NetBoxes]:
    """Predict the boxes of each net of several ensembles that have the same candidate classes.

    The source net of a localization net rates its boxes unless there is one box for each image.
    """
    views: dict[Net, set[ViewAtScale]] = defaultdict(set)
    rated_nets: set[Net] = set()
    for ensemble in ensembles:
        for member in ensemble.members:
            new = {ViewAtScale(view, q) for view, q in product({ensemble.view, *extra_views}, member.scales)}
            views[member.net] |= new
            num_boxes = candidate_classes.classes.shape[1] * len(ensemble.members) * len(new)
            if num_boxes > 1 or ensemble.view == "dense":
                rated_nets.add(member.net)
    boxes = {
        net: run_with_progress(
            predict_net_boxes(net, net_views, candidate_classes, split, runtime, decoding, rate=net in rated_nets),
            f"Boxes by {net}",
            len(candidate_classes.indices),
            is_main=runtime.is_main,
        )
        for net, net_views in views.items()
    }
    return boxes if runtime.is_main else {}


def predict_net_boxes(
    net: Net,
    views: Iterable[ViewAtScale],
    candidate_classes: CandidateClasses,
    split: Split,
    runtime: Runtime,
    decoding: Decoding,
    *,
    rate: bool = True,
) -> Generator[float, None, NetBoxes]:
    """Predict the boxes of images in several views with one net.

    Yields the number of images done, first none, and returns the boxes on the main process, nothing on the others.

    ``rate`` says whether the source net rates the boxes.

    Raises:
        DataError: an image cannot be decoded.
        OptionError: a test scale is smaller than the net's crop.
        WeightsError: the net or its source net has no weights, or computes values that are not finite.
    """
    yield 0
    ordered = sorted(views, key=lambda view: (view.view, view.scale))
    box_net = load_box_net(net, runtime, rate=rate)
    classes = dict(zip(candidate_classes.indices.tolist(), candidate_classes.classes, strict=True))
    boxes: NetBoxes = {view: {} for view in ordered}
    scales, whole = sorted({view.scale for view in ordered}), any(view.view == "dense" for view in ordered)
    for batch in rescale_images(box_net.model, split, scales, runtime, decoding, whole=whole, indices=classes):
        indices = batch.indices.tolist()
        sizes, labels = [split.image_size(index) for index in indices], np.array([classes[index] for index in indices])
        for view in ordered if indices else ():
            predict = partial(predict_in_parts, box_net, batch.images[view.scale], view, sizes, labels, runtime)
            with refuse_overflow(net):
                boxes[view].update(zip(indices, batch.limit.run(predict, len(indices)), strict=True))
        yield (len(indices) + len(batch.skipped)) * runtime.world_size
    gathered = runtime.gather_on_main(boxes)
    return {view: {index: box for part in gathered for index, box in part[view].items()} for view in ordered}


def load_box_net(net: Net, runtime: Runtime, *, rate: bool) -> BoxNet:
    """Load a localization net onto the device, and its source net to rate its boxes.

    Raises:
        WeightsError: one of them has no weights.
    """
    assert net.config.regression is not None
    classifier = net.classifier.prepare(runtime) if rate else None
    return BoxNet(net.prepare(runtime), net.config.regression, classifier)
