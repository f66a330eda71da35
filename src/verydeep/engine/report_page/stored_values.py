"""The fields of JSON files that the report page shows: each is checked when a file is read, which may be damaged."""

from collections.abc import Mapping, Sequence
from typing import Annotated, NotRequired, Required, TypedDict

from msgspec import Meta

from verydeep.ops.bootstrap import Difference
from verydeep.ops.metrics import Share

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]


class ClassErrors(TypedDict):
    """Errors of classes in a row of errors.json."""

    top1: Share
    topk: Share
    k: Positive
    class_recall: Share


class BoxErrors(TypedDict):
    """Errors of boxes in a row of errors.json."""

    error: Share


class Row(TypedDict, total=False):
    """A protocol of an evaluation: it has errors of classes, or of boxes."""

    net: str
    view: Required[str]
    crop: Positive
    scales: Required[Sequence[Count]]
    errors: ClassErrors | None
    truth: BoxErrors | None
    guesses: BoxErrors | None
    precision: Share | None
    """Mean AP of photographs with several classes."""


class EvaluationValues(TypedDict, total=False):
    """Content of errors.json, or as much of it as a classifier's own test has."""

    rows: Required[Annotated[Sequence[Row], Meta(min_length=1)]]
    summary: str
    data: str | None
    split: str
    root: str | None
    camera_rotation: bool | None
    num_images: Count
    nets: Sequence[str]
    weights: str | Sequence[str]
    classifier: str
    remarks: Sequence[str]
    skipped: Mapping[str, str] | Sequence[str] | None
    expected_calibration_error: float | None
    dense_minus_center: Difference | None
    class_intervals: Mapping[str, Share]
    """AP of each class of photographs with several classes."""


class ProvenanceValues(TypedDict, total=False):
    """The training of a net in its config.json."""

    num_images: Count | None
    steps: Count | None
    converged: bool | None
    class_images: Sequence[Count] | None


class ConfigValues(TypedDict, total=False):
    """Content of a net's config.json, or of classifier.json."""

    network: str
    width: float
    fc_width: int
    crop: int
    train_scale: str | None
    regression: str | None
    seed: int
    class_names: Sequence[str]
    class_words: Sequence[str]
    provenance: ProvenanceValues


class CurvePoint(TypedDict):
    """Scores of a classifier with fewer training photographs."""

    num_train: Positive
    scores: Sequence[float]
    interval: NotRequired[Share | None]


class Draw(TypedDict, total=False):
    """A draw of a classifier."""

    C: Required[float]
    num_train: Required[Count]
    num_test: Count
    score: float | None
    interval: Share | None


class TransferValues(TypedDict, total=False):
    """Content of transfer.json."""

    summary: str
    data: str
    root: str
    camera_rotation: bool
    metric: str
    class_images: Mapping[str, Count]
    class_intervals: Mapping[str, Share]
    representation: str
    draws: Sequence[Draw]
    curve: Sequence[CurvePoint]
    split: str | None
    """Split of the test photographs."""
    remarks: Sequence[str]
    skipped: Mapping[str, str] | Sequence[str]
