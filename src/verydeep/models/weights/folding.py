"""The one input convention (DESIGN 2): what another system does to pixels goes into conv1_1's weights, once.

Our nets take RGB, 0-255, minus their own mean. A net that takes BGR, or divides what is left by a number for each
channel, sees the same once its first weights are turned round, or divided by that number. The mean stays a
subtraction: zero padding then means the mean pixel on both sides, and the borders are exact, too.
"""

from torch import Tensor

from verydeep.models.weights.foreign import InputConvention


def folded(weight: Tensor, convention: InputConvention) -> Tensor:
    """conv1_1's weight (out, 3, k, k) on RGB, 0-255, minus the mean, of one that expects the convention."""
    rgb = weight.flip(1) if convention.order == "BGR" else weight
    return rgb / rgb.new_tensor(convention.divisor_rgb)[:, None, None]


def unfolded(weight: Tensor, convention: InputConvention) -> Tensor:
    """The other way: what expects the convention, of a weight on RGB, 0-255, minus the mean."""
    scaled = weight * weight.new_tensor(convention.divisor_rgb)[:, None, None]
    return scaled.flip(1) if convention.order == "BGR" else scaled
