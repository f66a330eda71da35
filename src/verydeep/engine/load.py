"""Nets and classifiers in memory, which every public function takes in place of a run."""

import warnings
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import get_args
from weakref import WeakSet

import torch

from verydeep.engine.nets.checks import open_net
from verydeep.engine.nets.folders import Weights
from verydeep.engine.nets.net import Net
from verydeep.engine.transfer.classifier import Classifier, is_classifier, load_classifier
from verydeep.errors import OptionError
from verydeep.signatures import NET, explain_names, refuse_value
from verydeep.wording import join_choices

_WARNED: WeakSet[torch.nn.Module] = WeakSet()
"""Models whose images have been warned about."""

Predictor = Net | Classifier
"""Predicts classes: a net, or linear SVMs on a net's descriptors."""


@explain_names
def load(source: str | PathLike[str], weights: Weights = "last") -> Predictor:
    """Read a net or a classifier into memory. Every function takes it as a run, also in several threads.

    To find out what a photograph shows, call ``vd.predict(net, photograph)``: it rescales the photograph as needed.
    ``net.model`` is the bare PyTorch module. It takes RGB values from 0 to 255, and warns once about other
    values. Objects have to be as large as in its training: before you call it, rescale the short side of a photograph
    to ``round(Q * net.config.crop / 224)`` pixels, where Q is one of ``net.config.test_scales``. On a photograph of
    full size, its scores are different.

    A net has ``config``, ``class_names`` and ``model``, a PyTorch module. A classifier has ``class_names``,
    ``representation`` (nets and layers) and ``svms``.

    Args:
        source: a run, a model folder, a weight file of Caffe, MatConvNet, Keras, torchvision or timm, the name of a
            published net ("oxford-vgg16"), "hf-hub:owner/name", or a folder written by ``transfer``.
        weights: the last weights of a run, or those with the lowest validation error.

    Raises:
        WeightsError: there is no such net, it is damaged, or a weight is not finite.
        DataError: the classifier is damaged.
        ResourceError: a published net cannot be downloaded.
        OptionError: an argument has the wrong type.
    """
    if not NET.accepts(source):
        raise refuse_value("source", source, NET)
    if weights not in get_args(Weights):
        raise OptionError(f"`weights={weights}` is unknown: choose {join_choices(get_args(Weights))}.", "weights")
    predictor = open_predictor(source, weights)
    if isinstance(predictor, Net):
        net = predictor.with_model()
        net.model.register_forward_pre_hook(warn_about_values)
        return net
    representation = predictor.representation
    nets = tuple(net.with_model() for net in representation.nets)
    return replace(predictor, representation=replace(representation, nets=nets))


def warn_about_values(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Warn once if images in memory have values outside 0-255, or fractions within 0-1.

    Images on a GPU are not looked at, because that would wait for them.
    """
    images = inputs[0]
    if model in _WARNED or model.training or torch.compiler.is_compiling():
        return
    if type(images) is not torch.Tensor or images.device.type != "cpu" or not images.numel():
        return
    low, high = (float(each) for each in images.detach().aminmax())
    if low < 0 or high > 255:
        problem = f"reach from {low:.3g} to {high:.3g}"
    elif high <= 1 and images.is_floating_point() and bool((images != images.round()).any()):
        problem = "lie within 0-1"
    else:
        return
    _WARNED.add(model)
    message = (
        f"The net takes RGB values 0-255, and those of these images {problem}: convert them, or call verydeep.predict."
    )
    warnings.warn(message, stacklevel=2)


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
    return open_net(source, weights)
