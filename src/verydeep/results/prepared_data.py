"""The result of `prepare`: a data set in folders that the other commands read."""

from dataclasses import dataclass
from pathlib import Path

from verydeep.results.result import Record, Result


@dataclass(frozen=True)
class PreparedSplit:
    """One split of a prepared data set."""

    name: str
    num_images: int
    num_classes: int
    """0 where there are no labels."""
    num_missing: int | None
    """Images of the complete set that are missing; None where the complete number is unknown."""
    description: str
    """All of it in a line."""


@dataclass(frozen=True, eq=False, repr=False)
class PreparedData(Result):
    """A data set in folders that the other commands read."""

    folder: Path
    splits: tuple[PreparedSplit, ...]

    def records(self) -> list[Record]:
        """Return one record for each split."""
        return [
            {
                "split": split.name,
                "num_images": split.num_images,
                "num_classes": split.num_classes,
                "num_missing": split.num_missing,
            }
            for split in self.splits
        ]

    def table(self) -> None:
        """Return no table: the remarks say it all."""

    def footer(self) -> list[str]:
        """Return a line for each split, and what to do next."""
        can_train = any(split.name == "train" for split in self.splits)
        return [
            *(split.description for split in self.splits),
            f"Ready: verydeep train {self.folder}" if can_train else f"Ready: {self.folder}",
        ]
