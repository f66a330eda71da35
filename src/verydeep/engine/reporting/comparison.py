"""Two rows of a table: how much less one errs than the other, and whether that is more than chance."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from verydeep.configs.protocols import EvaluationProtocol
from verydeep.ops.arrays import BoolArray
from verydeep.ops.bootstrap import Difference, paired_difference


@dataclass(frozen=True)
class Comparison:
    """Two rows of one table, the first minus the second, in points of error."""

    first: EvaluationProtocol
    second: EvaluationProtocol
    paper: float | None
    measured: Difference

    @property
    def as_in_the_paper(self) -> bool | None:
        """Whether the sign is the paper's; None where one of the two is zero, or the paper gives none."""
        product = (self.paper or 0.0) * self.measured.points
        return None if product == 0 else product > 0


def difference_of_runs(
    seeds_a: Sequence[int], wrong_a: BoolArray, seeds_b: Sequence[int], wrong_b: BoolArray
) -> Difference:
    """Error of a minus error of b on the same images: on the seeds that both have, or else as two samples of runs.

    Args:
        seeds_a: (R,) of the runs of a.
        wrong_a: (R, N) whether each errs on each image.
        seeds_b: (R',) of the runs of b.
        wrong_b: (R', N) the images in the same order.
    """
    shared = sorted(set(seeds_a) & set(seeds_b))
    if shared:
        wrong_a = wrong_a[[seeds_a.index(seed) for seed in shared]]
        wrong_b = wrong_b[[seeds_b.index(seed) for seed in shared]]
    return paired_difference(wrong_a, wrong_b, same_seeds=bool(shared))


def order_of_rows(comparisons: Sequence[Comparison], error: str) -> Iterator[str]:
    """The order of a table's rows against the paper's, and the differences of ``error`` that are larger than chance."""
    count, signs = len(comparisons), [each.as_in_the_paper for each in comparisons]
    known = [sign for sign in signs if sign is not None]
    if known:
        yield f"{sum(known)} of {len(known)} pairs of rows stand in the paper's order of {error}."
    real = [each for each in comparisons if each.measured.larger_than_chance]
    by_chance = f" By chance alone one would expect about {0.05 * count:.0f}." if count >= 10 else ""
    yield f"{len(real)} of {count} differences of {error} are larger than chance.{by_chance}"
    for each in comparisons if len(comparisons) == 1 else real:
        paper = "" if each.paper is None else f"; in the paper {each.paper:+.1f}"
        yield f"  {each.first} minus {each.second}: {each.measured}{paper}"


def comparison_values(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Differences of rows for machines."""
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
