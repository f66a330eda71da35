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
    from verydeep.commands.demo import demo
    from verydeep.commands.describe import describe
    from verydeep.commands.evaluate import evaluate
    from verydeep.commands.explain import explain
    from verydeep.commands.export import export
    from verydeep.commands.features import features
    from verydeep.commands.localize import localize
    from verydeep.commands.predict import predict
    from verydeep.commands.prepare import prepare
    from verydeep.commands.push import push
    from verydeep.commands.report import report
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
    from verydeep.models.weights.model_folder import ModelConfig
    from verydeep.results.archive import Archive
    from verydeep.results.demonstration import Demonstration
    from verydeep.results.descriptors import Descriptors
    from verydeep.results.explanations import Explanations
    from verydeep.results.measured_table import EvaluationResult, MeasuredTable, MeasuredTables
    from verydeep.results.neighbors import Neighbors
    from verydeep.results.nets import ConvertedNet, ExportedNet, PushedNet
    from verydeep.results.objects import LocatedObjects
    from verydeep.results.predictions import Predictions
    from verydeep.results.prepared_data import PreparedData
    from verydeep.results.report import ReportPage
    from verydeep.results.score_map import ScoreMap
    from verydeep.results.training import TrainedRun
    from verydeep.results.transfer import TransferredClassifier
    from verydeep.results.verified_data import VerifiedData

__all__ = [
    "NETWORKS",
    "RECIPES",
    "VGG",
    "Archive",
    "Classifier",
    "ConvertedNet",
    "DataError",
    "Demonstration",
    "Descriptors",
    "EvaluationResult",
    "Explanations",
    "ExportedNet",
    "LocatedObjects",
    "MeasuredTable",
    "MeasuredTables",
    "ModelConfig",
    "Neighbors",
    "Net",
    "Network",
    "OptionError",
    "Predictions",
    "PreparedData",
    "PushedNet",
    "Recipe",
    "ReportPage",
    "ResourceError",
    "ScoreMap",
    "Stage",
    "TrainScale",
    "TrainedRun",
    "TransferredClassifier",
    "VerifiedData",
    "VerydeepError",
    "WeightsError",
    "convert",
    "demo",
    "describe",
    "evaluate",
    "explain",
    "export",
    "features",
    "initialize",
    "load",
    "localize",
    "predict",
    "prepare",
    "push",
    "report",
    "reproduce",
    "search",
    "train",
    "transfer",
    "verify",
]

_MODULES = {
    name: module
    for module, names in {
        "configs.networks": ("NETWORKS", "Network"),
        "configs.recipes": ("RECIPES", "Recipe", "Stage"),
        "configs.scales": ("TrainScale",),
        "engine.load": ("load",),
        "engine.nets.net": ("Net",),
        "engine.transfer.classifier": ("Classifier",),
        "errors": ("DataError", "OptionError", "ResourceError", "VerydeepError", "WeightsError"),
        "models.initialization": ("initialize",),
        "models.vgg": ("VGG",),
        "models.weights.model_folder": ("ModelConfig",),
        "results.archive": ("Archive",),
        "results.demonstration": ("Demonstration",),
        "results.descriptors": ("Descriptors",),
        "results.explanations": ("Explanations",),
        "results.measured_table": ("EvaluationResult", "MeasuredTable", "MeasuredTables"),
        "results.neighbors": ("Neighbors",),
        "results.nets": ("ConvertedNet", "ExportedNet", "PushedNet"),
        "results.objects": ("LocatedObjects",),
        "results.predictions": ("Predictions",),
        "results.prepared_data": ("PreparedData",),
        "results.report": ("ReportPage",),
        "results.score_map": ("ScoreMap",),
        "results.training": ("TrainedRun",),
        "results.transfer": ("TransferredClassifier",),
        "results.verified_data": ("VerifiedData",),
    }.items()
    for name in names
}
"""Modules of the names that are no commands."""


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: PyTorch alone takes a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"verydeep.{_MODULES.get(name, f'commands.{name}')}"), name)


def __dir__() -> list[str]:
    """Return the public names, for completion."""
    return __all__
