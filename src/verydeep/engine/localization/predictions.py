"""What localization nets predict for a part of a data set; each net sees each image once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from verydeep.configs.protocols import LocalizationView
from verydeep.data.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.inference import ViewAtScale, ready, rescaled_images
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.candidates import BoxNet, Candidates, candidates, file_sizes, pooled
from verydeep.engine.nets.net import Net
from verydeep.engine.progress import progress_bar
from verydeep.engine.runtime import Runtime

Predicted = dict[ViewAtScale, dict[int, Candidates]]
"""What a net sees in each view: index of the image -> its boxes; images that cannot be decoded are left out."""


@dataclass(frozen=True, eq=False)
class BoxPredictions:
    """The boxes that one net gives for the classes asked for, nothing merged."""

    net: Net
    scales: tuple[int, ...]
    """At which the protocol asks it."""
    candidates: Predicted


def predict_boxes(
    net: Net,
    views: Iterable[ViewAtScale],
    candidate_classes: CandidateClasses,
    split: Split,
    runtime: Runtime,
    decoding: Decoding,
    *,
    rated: bool = True,
) -> Predicted | None:
    """Let a localization net see images in these views; None on all processes but the main one.

    ``rated``: whether boxes have to be chosen from, so that the classification net is asked, too.

    Raises:
        VerydeepError: as ``rescaled_images``, or the net that rates the boxes is not there.
    """
    wanted = sorted(views, key=lambda view: (view.view, view.scale))
    box_net = load_box_net(net, runtime, rated=rated)
    classes = dict(zip(candidate_classes.indices.tolist(), candidate_classes.classes, strict=True))
    found: Predicted = {view: {} for view in wanted}
    scales, whole = sorted({view.scale for view in wanted}), any(view.view == "dense" for view in wanted)
    batches = rescaled_images(
        box_net.model, split, scales, runtime, decoding, whole=whole, indices=candidate_classes.indices
    )
    with progress_bar(visible=runtime.is_main and len(candidate_classes.indices) > 1) as progress:
        task = progress.add_task(f"Boxes by {net}", total=len(candidate_classes.indices), note="")
        for batch in batches:
            indices = batch.indices.tolist()
            sizes = file_sizes(split, indices)
            for view in wanted if indices else ():
                labels = np.array([classes[index] for index in indices])
                boxes = candidates(box_net, batch.images[view.scale], view, sizes, labels, runtime)
                found[view].update(zip(indices, boxes, strict=True))
            progress.advance(task, (len(indices) + len(batch.skipped)) * runtime.world_size)
    gathered = runtime.gather_on_main(found)
    if not runtime.is_main:
        return None
    return {view: {index: boxes for part in gathered for index, boxes in part[view].items()} for view in wanted}


def load_box_net(net: Net, runtime: Runtime, *, rated: bool) -> BoxNet:
    """A localization net and, where its boxes are rated, the one that rates them, on the device.

    Raises:
        VerydeepError: one of them is not there.
    """
    assert net.config.regression is not None
    classifier = ready(net.classifier.load(), runtime) if rated else None
    return BoxNet(ready(net.load(), runtime), net.config.regression, classifier)


def pool(
    predictions: Sequence[BoxPredictions],
    view: LocalizationView,
    candidate_classes: CandidateClasses,
    scales: Sequence[int] | None = None,
) -> list[Candidates]:
    """The boxes of several nets, image by image, at the scales of each or at these alone."""
    parts = [
        each.candidates[ViewAtScale(view, scale)]
        for each in predictions
        for scale in (each.scales if scales is None else scales)
    ]
    return [pooled([part[index] for part in parts]) for index in candidate_classes.indices.tolist()]
