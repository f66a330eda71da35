"""The results of `prepare` and `verify`: what a data set holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

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


@dataclass(frozen=True, eq=False, repr=False)
class VerifiedData(Result):
    """The files of a data set that cannot be decoded, and those that are unusual."""

    formats: ClassVar[Mapping[str, str]] = {"decodable": "yes/no"}

    folder: Path
    layout: str
    num_files: int
    undecodable: Mapping[str, str]
    """File -> reason why it cannot be decoded, or is refused."""
    unusual: tuple[tuple[str, str], ...]
    """(file, peculiarity) of files that are used."""
    notes: tuple[str, ...] = ()
    """Sentences about folders, such as what was left out."""
    folder_problems: tuple[str, ...] = ()
    """Sentences about folders that a training refuses."""
    bad_boxes: tuple[tuple[str, str], ...] = ()
    """(file, finding) of annotations of boxes that a training of boxes refuses; without a file, '' and the finding."""

    @property
    def problem(self) -> str:
        """Sentences if any file cannot be used, or a folder cannot be trained on."""
        sentences = list(self.folder_problems)
        if self.undecodable:
            sentences.append(
                f"{len(self.undecodable):,} of {self.num_files:,} files cannot be used: replace or remove them, or "
                "leave them out with `bad_images=skip`."
            )
        if self.bad_boxes:
            subject = "annotation of boxes is" if len(self.bad_boxes) == 1 else "annotations of boxes are"
            sentences.append(
                f"{len(self.bad_boxes):,} {subject} wrong or missing: correct them, or train with `bad_boxes=clip` or "
                "`bad_boxes=skip`."
            )
        return "\n".join(sentences)

    def records(self) -> list[Record]:
        """Return one record for each file that cannot be decoded, peculiarity of another file, and bad box."""
        undecodable: list[Record] = [
            {"file": file, "decodable": False, "finding": reason} for file, reason in self.undecodable.items()
        ]
        others = (*self.unusual, *self.bad_boxes)
        return undecodable + [{"file": file, "decodable": True, "finding": text} for file, text in others]

    def columns(self) -> Mapping[str, str]:
        """Return the columns of the table: words first, which are folded where the terminal is narrow."""
        return {key: key for key in ("file", "finding", "decodable")}

    def footer(self) -> list[str]:
        """Return the notes, and how many files there are."""
        files = {1: "The file", 2: "Both files"}.get(self.num_files, f"All {self.num_files:,} files")
        return [*self.notes, *([] if self.undecodable else [f"{files} can be decoded."])]
