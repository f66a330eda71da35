"""Charts of the report page: lines and points in a square of 1000 units, which the template draws as SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from verydeep.engine.report_page.figures import Bin
from verydeep.engine.report_page.stored_values import CurvePoint
from verydeep.engine.training.metrics_log import MetricsLine
from verydeep.ops.localization_errors import success_rates

SIDE = 1000
"""Side of the square, in its units; it is stretched to the place of the chart."""
MAX_TICKS = 5
MAX_POINTS = 60
"""Points of the curve of the loss, each the mean of a stretch of steps."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    color: int
    """Number of the color, counted from 0."""
    points: tuple[Point, ...]
    """x to the right and y downwards, in units."""
    spreads: tuple[tuple[float, float, float], ...] = ()
    """x, low y and high y of each interval."""
    has_dots: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines over common axes; the ticks of an axis are evenly spaced from its beginning to its end."""

    title: str
    description: str
    """The chart in words, for people who do not see it."""
    x_label: str
    x_ticks: tuple[str, ...]
    y_ticks: tuple[str, ...]
    lines: tuple[Line, ...]
    marks: tuple[float, ...] = ()
    """x of vertical lines."""
    mark_label: str = ""
    has_diagonal: bool = False


def choose_ticks(largest: float) -> list[float]:
    """Return evenly spaced round numbers from 0 to ``largest`` or just beyond it."""
    if not 0 < largest < math.inf:  # also NaN
        return [0.0, 1.0]
    power = 10 ** math.floor(math.log10(largest / MAX_TICKS))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if largest / (power * factor) <= MAX_TICKS)
    return [step * number for number in range(math.ceil(largest / step - 1e-9) + 1)]


def _tick_texts(ticks: Sequence[float], unit: str = "") -> tuple[str, ...]:
    return tuple(f"{tick:,.6g}{unit}" for tick in ticks)


def _place(values: Sequence[float], largest: float) -> list[float]:
    """Return values as distances from the axis, in units."""
    return [round(SIDE * min(max(value / largest, 0.0), 1.0), 1) for value in values]


def _join(xs: Sequence[float], ys: Sequence[float], x_end: float, y_end: float) -> tuple[Point, ...]:
    return tuple(zip(_place(xs, x_end), (SIDE - y for y in _place(ys, y_end)), strict=True))


def draw_loss(runs: Mapping[str, Sequence[MetricsLine]]) -> Chart | None:
    """Return the chart of the smoothed training loss of each run, by the lines of its metrics.jsonl."""
    curves = {name: _smooth_loss(metrics) for name, metrics in runs.items()}
    curves = {name: curve for name, curve in curves.items() if curve[0]}
    if not curves:
        return None
    x_ticks = choose_ticks(max(xs[-1] for xs, _ in curves.values()))
    y_ticks = choose_ticks(max(max(ys) for _, ys in curves.values()))
    lines = tuple(
        Line(name, list(runs).index(name), _join(*curve, x_ticks[-1], y_ticks[-1])) for name, curve in curves.items()
    )
    ends = "; ".join(f"{name}: from {ys[0]:.3g} to {ys[-1]:.3g}" for name, (_, ys) in curves.items())
    marks = _place(_drops(next(iter(runs.values()))), x_ticks[-1]) if len(runs) == 1 else ()
    return Chart(
        "Training loss", f"Training loss over the epochs, {ends}.", "epoch", _tick_texts(x_ticks),
        _tick_texts(y_ticks), lines, tuple(marks), "learning rate drops",
    )  # fmt: skip


def draw_validation(runs: Mapping[str, Sequence[MetricsLine]], error: str) -> Chart | None:
    """Return the chart of the validation error of each run after each epoch."""
    curves = {
        name: [
            (each["epoch"], percent)
            for each in metrics
            if "epoch" in each and (percent := each.get("val_error")) is not None
        ]
        for name, metrics in runs.items()
    }
    curves = {name: curve for name, curve in curves.items() if curve}
    if not curves:
        return None
    x_ticks = choose_ticks(max(curve[-1][0] for curve in curves.values()))
    y_ticks = choose_ticks(max(y for curve in curves.values() for _, y in curve))
    lines = []
    for name, curve in curves.items():
        xs, ys = [x for x, _ in curve], [y for _, y in curve]
        points = _join(xs, ys, x_ticks[-1], y_ticks[-1])
        lines.append(Line(name, list(runs).index(name), points, has_dots=len(curve) <= MAX_TICKS * 4))
    ends = "; ".join(f"{name}: from {curve[0][1]:.1f}% to {curve[-1][1]:.1f}%" for name, curve in curves.items())
    return Chart(
        f"Validation: {error}", f"Validation {error} after each epoch, {ends}.", "epoch",
        _tick_texts(x_ticks), _tick_texts(y_ticks, "%"), tuple(lines),
    )  # fmt: skip


def _smooth_loss(metrics: Sequence[MetricsLine]) -> tuple[list[float], list[float]]:
    """Return epochs and mean losses of at most ``MAX_POINTS`` stretches of steps."""
    if not metrics:
        return [], []
    stretches = np.array_split(np.arange(len(metrics)), min(len(metrics), MAX_POINTS))
    xs = [float(np.mean([metrics[i]["step"] for i in each])) / _epoch_steps(metrics) for each in stretches]
    return xs, [float(np.mean([metrics[i]["loss"] for i in each])) for each in stretches]


def _epoch_steps(metrics: Sequence[MetricsLine]) -> float:
    """Return the number of steps of an epoch; of a training that has not ended its first epoch, that of all steps."""
    ends = [each["step"] / each["epoch"] for each in metrics if each.get("epoch")]
    return float(ends[-1] if ends else metrics[-1]["step"])


def _drops(metrics: Sequence[MetricsLine]) -> list[float]:
    """Return the epochs at which the learning rate drops within a stage."""
    return [
        after["step"] / _epoch_steps(metrics)
        for before, after in pairwise(metrics)
        if after["learning_rate"] < before["learning_rate"] and after.get("stage", 1) == before.get("stage", 1)
    ]


def draw_calibration(bins: Sequence[Bin]) -> Chart | None:
    """Return the calibration diagram: the share of right predictions over their probability."""
    if not bins:
        return None
    xs = _place([each.mean for each in bins], 1)
    points = _join([each.mean for each in bins], [each.right.percent for each in bins], 1, 100)
    spreads = tuple(
        (x, SIDE - 10 * each.right.low, SIDE - 10 * each.right.high) for x, each in zip(xs, bins, strict=True)
    )
    words = "; ".join(f"{each.mean:.0%} sure, {each.right.percent:.0f}% right ({each.count:,})" for each in bins)
    line = Line("right predictions, with 95% intervals", 0, points, spreads, has_dots=True)
    ticks = tuple(f"{percent}%" for percent in range(0, 101, 25))
    return Chart(
        "Calibration", f"Share of right predictions by their probability: {words}.", "predicted probability",
        ticks, ticks, (line,), has_diagonal=True,
    )  # fmt: skip


def draw_success(overlaps: Sequence[float]) -> Chart:
    """Return the share of photographs whose box reaches an IoU, over that IoU."""
    thresholds = np.linspace(0.02, 1, 50)
    shares = [share.percent for share in success_rates(np.array(overlaps), thresholds)]
    points = _join(thresholds.tolist(), shares, 1, 100)
    at_half = shares[24]  # at 0.5
    return Chart(
        "Boxes by IoU", f"{at_half:.1f}% of the boxes of the true class have an IoU of at least 0.5.",
        "IoU of at least", ("0", "0.25", "0.5", "0.75", "1"),
        tuple(f"{percent}%" for percent in range(0, 101, 25)), (Line("box of the true class", 0, points),),
        (SIDE / 2,), "right from here",
    )  # fmt: skip


def draw_learning_curve(points: Sequence[CurvePoint], metric: str) -> Chart | None:
    """Return the score of a classifier over the number of training photographs of each class."""
    curve = [(float(point["num_train"]), float(np.mean(point["scores"]))) for point in points if point["scores"]]
    if len(curve) < 2:
        return None
    xs, ys = [x for x, _ in curve], [y for _, y in curve]
    x_ticks = choose_ticks(max(xs))
    intervals = [(float(point["num_train"]), interval) for point in points if (interval := point.get("interval"))]
    places = _place([x for x, _ in intervals], x_ticks[-1])
    spreads = tuple(
        (x, SIDE - 10 * each.low, SIDE - 10 * each.high) for x, (_, each) in zip(places, intervals, strict=True)
    )
    return Chart(
        "More photographs", f"{metric}: from {ys[0]:.1f}% with {xs[0]:.0f} to {ys[-1]:.1f}% with {xs[-1]:.0f}.",
        "training photographs of each class", _tick_texts(x_ticks),
        tuple(f"{percent}%" for percent in range(0, 101, 25)),
        (Line(metric, 0, _join(xs, ys, x_ticks[-1], 100), spreads, has_dots=True),),
    )  # fmt: skip
