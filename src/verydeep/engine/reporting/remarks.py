"""What a reader must know before he quotes a figure: whether a net has seen the images."""

from collections.abc import Iterator

from verydeep.data.ilsvrc2012 import known_classes
from verydeep.data.split import Split
from verydeep.engine.datasets import fingerprint
from verydeep.engine.nets.net import Net


def seen_images_remarks(net: Net, split: Split, weights: str) -> Iterator[str]:
    """What a net has seen of these images, if anything."""
    seen, known = fingerprint(split), net.config.split
    if net.imported and split.name == "train" and set(split.class_names) <= known_classes().keys():
        yield f"Note: {net.path.name} may have been trained on these images, as they may be ILSVRC's training images."
    if seen == known.get("train"):
        yield "Note: these are the images that the net was trained on."
    elif seen == known.get("val"):
        if weights == "best":
            yield "Note: these images chose these weights, so the errors are not of unseen data."
        elif known.get("plateau"):
            yield "Note: these images decided when the learning rate dropped, so the errors are not of unseen data."
    elif split.name == "all" and known.get("data") == str(split.root.resolve()):
        yield "Note: most of these images are those that the net was trained on."
    elif known.get(split.name) is not None and known.get("data") == str(split.root.resolve()):
        yield (
            f"Note: {net.path}: the folder has changed since the training, or was divided otherwise, so some images "
            "may have been trained on."
        )
