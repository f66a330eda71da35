"""Networks, training, testing and localization of the VGG paper (Simonyan and Zisserman, arXiv 1409.1556).

In Python:

    import verydeep as vd

    run = vd.train("photos", crop=64)              # train a net on folders of photographs
    print(vd.evaluate("photos", run))              # its errors, with 95% intervals
    print(vd.predict(run, "holiday.jpg"))          # classes of a photograph, an array or a tensor
    net = vd.load("oxford-vgg16")                  # a net in memory, for all functions that take a run
    vectors = vd.describe(net, "holiday/").values  # (N, 4096) descriptors

Each command of the command line is a function of the same name; see ``help(vd.train)`` and so on.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verydeep.commands.convert import convert
    from verydeep.commands.evaluate import evaluate
    from verydeep.commands.export import export
    from verydeep.commands.features import features
    from verydeep.commands.localize import localize
    from verydeep.commands.predict import predict
    from verydeep.commands.prepare import prepare
    from verydeep.commands.push import push
    from verydeep.commands.reproduce import reproduce
    from verydeep.commands.search import search
    from verydeep.commands.train import train
    from verydeep.commands.transfer import transfer
    from verydeep.commands.verify import verify
    from verydeep.configs.networks import NETWORKS, Network
    from verydeep.configs.recipes import RECIPES, Recipe, Stage
    from verydeep.configs.scales import TrainScale
    from verydeep.engine.load import load
    from verydeep.engine.nets.net import Net
    from verydeep.engine.transfer.classifier import Classifier
    from verydeep.errors import DataError, OptionError, ResourceError, VerydeepError, WeightsError
    from verydeep.models.initialization import initialize
    from verydeep.models.vgg import VGG
    from verydeep.models.weights.native import ModelConfig

__all__ = [
    "NETWORKS",
    "RECIPES",
    "VGG",
    "Classifier",
    "DataError",
    "ModelConfig",
    "Net",
    "Network",
    "OptionError",
    "Recipe",
    "ResourceError",
    "Stage",
    "TrainScale",
    "VerydeepError",
    "WeightsError",
    "convert",
    "evaluate",
    "export",
    "features",
    "initialize",
    "load",
    "localize",
    "predict",
    "prepare",
    "push",
    "reproduce",
    "search",
    "train",
    "transfer",
    "verify",
]

_OTHERS = {
    "NETWORKS": "configs.networks",
    "Network": "configs.networks",
    "RECIPES": "configs.recipes",
    "Recipe": "configs.recipes",
    "Stage": "configs.recipes",
    "TrainScale": "configs.scales",
    "DataError": "errors",
    "OptionError": "errors",
    "ResourceError": "errors",
    "VerydeepError": "errors",
    "WeightsError": "errors",
    "VGG": "models.vgg",
    "initialize": "models.initialization",
    "ModelConfig": "models.weights.native",
    "load": "engine.load",
    "Net": "engine.nets.net",
    "Classifier": "engine.transfer.classifier",
}
"""Modules of the names that are no commands."""


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: PyTorch alone takes a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"verydeep.{_OTHERS.get(name, f'commands.{name}')}"), name)
