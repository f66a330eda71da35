"""Differences between the rows of a table: their size, their sign in the paper, and whether they may be chance."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from verydeep.configs.protocols import EvaluationProtocol
from verydeep.ops.arrays import BoolArray
from verydeep.ops.bootstrap import Difference, paired_difference


@dataclass(frozen=True)
class Comparison:
    """The error of one row of a table minus that of another, in percentage points."""

    first: EvaluationProtocol
    second: EvaluationProtocol
    paper: float | None
    """Published difference; None where the paper does not give both errors."""
    measured: Difference

    @property
    def has_papers_sign(self) -> bool | None:
        """Whether the sign is the paper's; None where one difference is zero or unknown."""
        product = (self.paper or 0.0) * self.measured.points
        return None if product == 0 else product > 0


def difference_of_runs(
    seeds_a: Sequence[int], wrong_a: BoolArray, seeds_b: Sequence[int], wrong_b: BoolArray
) -> Difference:
    """Return the difference of two errors on the same images, that of a minus that of b.

    Runs are paired by the seeds that both have; without a common seed they are two independent samples of runs.

    Args:
        seeds_a: (R,) seeds of the runs of a.
        wrong_a: (R, N) whether each run errs on each image.
        seeds_b: (R',) seeds of the runs of b.
        wrong_b: (R', N) whether each run errs on each image, the images in the same order.
    """
    shared = sorted(set(seeds_a) & set(seeds_b))
    if shared:
        wrong_a = wrong_a[[seeds_a.index(seed) for seed in shared]]
        wrong_b = wrong_b[[seeds_b.index(seed) for seed in shared]]
    return paired_difference(wrong_a, wrong_b, same_seeds=bool(shared))


def comparison_remarks(comparisons: Sequence[Comparison], error: str) -> Iterator[str]:
    """Compare the order of a table's rows with the paper's, and list the differences that are larger than chance.

    Args:
        comparisons: of all pairs of rows.
        error: name of the compared errors, in the plural.
    """
    signs = [each.has_papers_sign for each in comparisons if each.has_papers_sign is not None]
    if signs:
        yield f"{sum(signs)} of {len(signs)} pairs of rows have the paper's order of {error}."
    large = [each for each in comparisons if each.measured.larger_than_chance]
    count = len(comparisons)
    by_chance = f" Chance alone would make about {0.05 * count:.0f} of them look so." if count >= 10 else ""
    yield f"{len(large)} of {count} differences of {error} are larger than chance.{by_chance}"
    for each in comparisons if count == 1 else large:
        paper = "" if each.paper is None else f"; in the paper {each.paper:+.1f}"
        yield f"  {each.first} minus {each.second}: {each.measured}{paper}"


def comparison_values(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return differences of rows as JSON values."""
    return [
        {
            "first": str(each.first),
            "second": str(each.second),
            "paper": each.paper,
            **asdict(each.measured),
            "larger_than_chance": each.measured.larger_than_chance,
        }
        for each in comparisons
    ]
