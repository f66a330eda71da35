"""Test a classifier on a split as nets are tested: top-1 and top-5 error, recall, confusion."""

import numpy as np

from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.classification.ensemble_errors import ClassificationEvaluation, EnsemblePredictions, EvaluationRow
from verydeep.engine.descriptors.cache import compute_descriptors, read_descriptors
from verydeep.engine.runtime import Runtime
from verydeep.engine.transfer.classifier import Classifier
from verydeep.ops.metrics import classification_errors, confusion_matrix


def evaluate_classifier(
    classifier: Classifier, split: Split, runtime: Runtime, decoding: Decoding
) -> ClassificationEvaluation | None:
    """Describe the images by all processes, and count the errors of the linear SVMs, whose margins are the scores.

    Returns:
        The errors; None on all processes but the main one.

    Raises:
        DataError: a file cannot be decoded, or none can.
        WeightsError: a net cannot be read.
        ResourceError: the cache cannot be written.
    """
    assert split.labels is not None
    representation = classifier.representation
    skipped = compute_descriptors(representation, split, runtime, decoding)
    if not runtime.is_main:
        return None
    samples = read_descriptors(representation, split, skipped, runtime, decoding)
    used = set(samples.split.files)
    predictions = EnsemblePredictions(
        indices=np.array([index for index, file in enumerate(split.files) if file in used], np.int64),
        posteriors=classifier.svms.compute_margins(samples.values),
        center=None,
        geometry={},
        skipped=skipped,
        kind="margin",
    )
    labels = split.labels[predictions.indices]
    errors = classification_errors(predictions.posteriors, labels)
    row = EvaluationRow(
        classifier.path.name, representation.nets[0].config.crop, "dense", representation.scales, errors
    )
    return ClassificationEvaluation((row,), predictions, None, confusion_matrix(predictions.posteriors, labels))
