"""The whole system of the VGG paper: Simonyan and Zisserman, arXiv 1409.1556.

In Python:

    import verydeep

    net, config = verydeep.load("runs/photos-A-256-c64-s0")  # or a weight file, "oxford-vgg16", "hf-hub:owner/name"
    scores = net(images)                                     # (N, K, h, w) of RGB images, 0-255
    net = verydeep.VGG(verydeep.NETWORKS["D"])               # weights not filled: see initialize
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from verydeep.configs.networks import NETWORKS, Network
from verydeep.configs.recipes import RECIPES, Recipe, Stage
from verydeep.configs.scales import TrainScale
from verydeep.errors import VerydeepError

if TYPE_CHECKING:
    from verydeep.engine.nets.folders import load
    from verydeep.models.initialization import initialize
    from verydeep.models.vgg import VGG
    from verydeep.models.weights.native import ModelConfig

__all__ = [
    "NETWORKS",
    "RECIPES",
    "VGG",
    "ModelConfig",
    "Network",
    "Recipe",
    "Stage",
    "TrainScale",
    "VerydeepError",
    "initialize",
    "load",
]

_NEEDS_TORCH = {
    "VGG": "verydeep.models.vgg",
    "initialize": "verydeep.models.initialization",
    "ModelConfig": "verydeep.models.weights.native",
    "load": "verydeep.engine.nets.folders",
}


def __getattr__(name: str) -> Any:
    """Import what needs PyTorch when it is first asked for: PyTorch alone takes a second."""
    if name in _NEEDS_TORCH:
        return getattr(import_module(_NEEDS_TORCH[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
