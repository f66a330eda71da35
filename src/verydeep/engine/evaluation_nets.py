"""Open what an evaluation tests: nets or a classifier given by path or name, or the nets of a protocol."""

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import Literal

from verydeep.configs.protocols import LOCALIZATION_VIEWS, Classes, EvaluationProtocol, LocalizationView, View
from verydeep.data.folders.folder import WNID
from verydeep.engine.evaluation_tasks import (
    BoxEvaluationTask,
    ClassEvaluationTask,
    ClassifierEvaluationTask,
    EvaluationTask,
)
from verydeep.engine.load import Predictor, open_predictor
from verydeep.engine.localization.box_ensemble import build_box_ensemble, require_box_ensembles
from verydeep.engine.nets.collection import Collection, required_ensembles
from verydeep.engine.nets.folders import Weights
from verydeep.engine.nets.net import Net, NetShape
from verydeep.engine.transfer.classifier import Classifier
from verydeep.errors import OptionError
from verydeep.paths import real_path
from verydeep.wording import join_choices, name_given


def open_named(
    task: Literal["classify", "localize"],
    sources: Sequence[str | PathLike[str] | Predictor],
    scales: tuple[int, ...] | None,
    views: View | None,
    classes: Classes | None,
    class_runs: Collection,
    weights: Weights,
) -> EvaluationTask:
    """Open nets for a test at these test scales, or at each net's own; or open a classifier.

    Raises:
        WeightsError: a net cannot be read, or no net predicts the classes of the boxes.
        DataError: the classifier is damaged.
        OptionError: a net is named twice, or with a classifier, or boxes are not predicted in this view.
    """
    predictors = [open_predictor(source, weights) for source in sources]
    for each in predictors:
        if isinstance(each, Classifier):
            if len(predictors) > 1:
                raise OptionError(f"{each.path} is a classifier, which is tested alone: name one run.", "run")
            is_given = {"scales": scales is not None, "views": views is not None, "weights": weights != "last"}
            if given := name_given(is_given | {"task": task != "classify"}):
                raise OptionError(f"A classifier has its own test scales and view: omit {given}.", "run")
            return ClassifierEvaluationTask(each)
    if len({real_path(each.path) for each in predictors}) < len(predictors):
        raise OptionError("A net is given twice: an ensemble needs different nets.", "run")
    members = tuple(each.member(scales) for each in predictors if isinstance(each, Net))
    if task == "classify":
        return ClassEvaluationTask(members, views or "dense")
    if views not in (None, *LOCALIZATION_VIEWS):
        raise OptionError(
            f"`views={views}` does not work for boxes: choose {join_choices(LOCALIZATION_VIEWS)}.", "views"
        )
    box_view: LocalizationView = "center" if views == "center" else "dense"
    return BoxEvaluationTask(build_box_ensemble(members, box_view, classes, class_runs, weights))


def open_protocol(
    protocol: EvaluationProtocol, runs: Collection, shape: NetShape, weights: Weights
) -> list[EvaluationTask]:
    """Open the nets of a protocol, for one test with each seed.

    Args:
        protocol: the protocol.
        runs: nets, and the folder of runs.
        shape: sizes of the nets, and classes of the data; if no net has these, those nets are tested that know all of
            them.
        weights: last or best weights.

    Raises:
        WeightsError: a net is missing, or two runs have the same seed.
    """
    class_names = shape.class_names
    names = {net.class_names for net in runs.nets(weights)}
    supersets = [each for each in names if set(class_names) < set(each)]
    if class_names not in names and len(supersets) == 1 and not all(map(WNID.fullmatch, class_names)):
        shape = replace(shape, class_names=supersets[0])
    if protocol.task == "localize":
        return [BoxEvaluationTask(each) for each in require_box_ensembles(protocol, runs, shape, weights)]
    ensembles = required_ensembles(protocol, runs, shape, weights)
    return [ClassEvaluationTask(tuple(members), protocol.view) for members in ensembles.values()]
