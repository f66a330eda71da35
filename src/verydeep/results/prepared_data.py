"""The result of `prepare`: a data set in folders that the other commands read."""

from dataclasses import dataclass
from pathlib import Path

from verydeep.results.result import Record, Result


@dataclass(frozen=True)
class PreparedSplit:
    """One split of a prepared data set."""

    name: str
    """train, val or test."""
    num_images: int
    """Number of photographs in the split."""
    num_classes: int
    """Number of classes; 0 if the split has no labels."""
    num_missing: int | None
    """Number of photographs that the complete split would have in addition; None if it is unknown."""
    description: str
    """One line that says all of this."""


@dataclass(frozen=True, eq=False, repr=False)
class PreparedData(Result):
    """A data set in folders that the other commands read."""

    folder: Path
    """The folder of the data set."""
    splits: tuple[PreparedSplit, ...]
    """Name, number of images and number of classes of each split."""

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
        """Return None: the footer contains everything."""

    def footer(self) -> list[str]:
        """Return a line for each split, and what to do next."""
        can_train = any(split.name == "train" for split in self.splits)
        return [
            *(split.description for split in self.splits),
            f"Ready: verydeep train {self.folder}" if can_train else f"Ready: {self.folder}",
        ]
