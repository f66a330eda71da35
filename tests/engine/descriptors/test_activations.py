"""Descriptors of one layer against a slow twin that cuts every window."""

import numpy as np
import pytest

from tests.engine.descriptors.nets import CPU, describe_by_windows
from verydeep.data.pixels.decoding import STRICT
from verydeep.data.split import Split
from verydeep.engine.descriptors.activations import default_layer, describe_batches
from verydeep.engine.inference import prepare_net
from verydeep.engine.nets.net import Net
from verydeep.models.weights.model_folder import ModelConfig


def test_descriptors_are_means_over_windows_and_mirror_images(net: Net, val_split: Split) -> None:
    """Of rectangles whose sides are no multiples of 32; every layer differs from the others."""
    split, model, scales = val_split.subset([0, 1, 3]), prepare_net(net.load(), CPU), (256, 320)
    smallest = {}
    for layer in ("conv5_3", "relu5_3", "pool5", "fc7", "relu7"):
        seen = set()
        for batch in describe_batches(net, model, layer, scales, split, CPU, STRICT):
            for scale, values in batch.descriptors.items():
                for index, descriptor in zip(batch.indices.tolist(), values, strict=True):
                    expected = describe_by_windows(model, split, index, scale)[layer]
                    tolerance = 1e-4 * float(np.abs(expected).max())
                    assert descriptor == pytest.approx(expected, rel=1e-4, abs=tolerance), (layer, scale)
                    seen.add((index, scale))
                    smallest[layer] = min(smallest.get(layer, 0.0), float(descriptor.min()))
        assert len(seen) == len(split) * len(scales)
    assert smallest["relu7"] == 0 > smallest["fc7"]


def test_default_layer_is_the_papers_or_a_trunks_last(net: Net) -> None:
    assert default_layer(net.config) == "relu7"
    assert default_layer(ModelConfig("A", (), ())) == "pool5"
