"""The one input convention: what another system does to pixels is moved into the weights of conv1_1.

Our nets take RGB, 0-255, minus their own mean. A net that takes BGR gets its first weights in reverse order; weights of
a net that divides each channel by a number are divided by it. The mean remains a subtraction: zero padding then stands
for the mean pixel in both systems, and the borders are exact, too.
"""

from torch import Tensor

from verydeep.models.weights.weight_file import InputConvention


def fold_input(weight: Tensor, convention: InputConvention) -> Tensor:
    """Return conv1_1's weight (out, 3, k, k) for RGB, 0-255, minus the mean, from one for the convention."""
    rgb = weight.flip(1) if convention.order == "BGR" else weight
    return rgb / rgb.new_tensor(convention.divisor_rgb)[:, None, None]


def unfold_input(weight: Tensor, convention: InputConvention) -> Tensor:
    """Return conv1_1's weight for the convention, from one for RGB, 0-255, minus the mean."""
    scaled = weight * weight.new_tensor(convention.divisor_rgb)[:, None, None]
    return scaled.flip(1) if convention.order == "BGR" else scaled
