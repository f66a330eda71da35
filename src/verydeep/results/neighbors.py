"""The result of `search`: the photographs of an archive that are nearest to each image."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from verydeep.ops.arrays import BoolArray, Float32Array
from verydeep.results.result import ImageResult, Record


@dataclass(frozen=True, eq=False, repr=False)
class Neighbors(ImageResult):
    """The photographs of an archive that are most similar to each image, the nearest first."""

    images: tuple[str, ...]
    """Names of the n images: their files, or "image 1", "image 2", ... for images in memory."""
    paths: tuple[tuple[str, ...], ...]
    """Files of the ``top`` neighbors of each image; relative to the working folder if they lie in it."""
    similarities: Float32Array
    """(n, top) float32: inner products of descriptors of length one; 1 for the same photograph."""
    missing: BoolArray
    """(n, top) bool: whether the neighbor's file no longer exists."""
    picture: Path | None = None
    """File with a picture of the neighbors; None if no picture was asked for."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Reason for each file that could not be used."""
    bad_images: Literal["error", "skip"] = "error"
    """How to treat skipped files: "error" makes them a ``problem``, "skip" accepts them."""
    formats: ClassVar[Mapping[str, str]] = {"similarity": ".3f"}

    def records(self) -> list[Record]:
        """Return one plain record for each image and neighbor."""
        return [
            {"image": image, "rank": rank, "neighbor": path, "similarity": similarity, "missing": missing}
            for image, *row in zip(
                self.images, self.paths, self.similarities.tolist(), self.missing.tolist(), strict=True
            )
            for rank, (path, similarity, missing) in enumerate(zip(*row, strict=True), start=1)
        ]

    def columns(self) -> Mapping[str, str]:
        """Return the columns of the table; the last one, for missing files, only if a file is missing."""
        missing = ("missing",) if self.missing.any() else ()
        return {key: key for key in ("image", "neighbor", "similarity", *missing)}

    def footer(self) -> list[str]:
        """Return where the picture is, and a line for each skipped file."""
        written = [] if self.picture is None else [f"Picture written: {self.picture}"]
        advice = "if they were moved, write the path of their folder into manifest.json, as images_root"
        missing = [f"Missing: files that are no longer where they were described; {advice}."]
        return [*written, *(missing if self.missing.any() else []), *self._skipped_lines()]
