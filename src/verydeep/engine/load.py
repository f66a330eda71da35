"""Nets and classifiers in memory, which every public function takes in place of a run."""

from dataclasses import replace
from os import PathLike
from pathlib import Path

from verydeep.engine.nets.folders import Weights
from verydeep.engine.nets.net import Net
from verydeep.engine.transfer.classifier import Classifier, is_classifier, load_classifier

Predictor = Net | Classifier
"""Predicts classes: a net, or linear SVMs on a net's descriptors."""


def load(source: str | PathLike[str], weights: Weights = "last") -> Predictor:
    """Read a net or a classifier into memory. Every function takes it as a run, also in several threads at once.

    A net has ``config``, ``class_names`` and ``model``, a PyTorch module. A classifier has ``class_names``,
    ``representation`` (nets and layers) and ``svms``.

    Args:
        source: a run, a model folder, a weight file of Caffe, MatConvNet, Keras, torchvision or timm, the name of a
            published net ("oxford-vgg16"), "hf-hub:owner/name", or a folder written by ``transfer``.
        weights: the last weights of a run, or those with the lowest validation error.

    Raises:
        WeightsError: there is no such net, or it is damaged.
        DataError: the classifier is damaged.
        ResourceError: a published net cannot be downloaded.
    """
    predictor = open_predictor(source, weights)
    if isinstance(predictor, Net):
        return predictor.with_model()
    representation = predictor.representation
    nets = tuple(net.with_model() for net in representation.nets)
    return replace(predictor, representation=replace(representation, nets=nets))


def open_predictor(source: str | PathLike[str] | Predictor, weights: Weights = "last") -> Predictor:
    """Open a net or a classifier without reading a net's weights; a value in memory is returned as it is.

    Raises:
        WeightsError: there is no such net, or a configuration is damaged.
        DataError: the classifier is damaged.
        ResourceError: a published net cannot be downloaded.
    """
    if isinstance(source, Classifier):
        return source
    if not isinstance(source, Net) and is_classifier(Path(source)):
        return load_classifier(Path(source))
    return Net.open(source, weights)
