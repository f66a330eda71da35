"""The result of `describe`: descriptors of images in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from verydeep.ops.arrays import Float32Array
from verydeep.results.result import ImageResult, Record

NUM_SHOWN = 4
"""Numbers of each descriptor in the table."""


@dataclass(frozen=True, eq=False, repr=False)
class Descriptors(ImageResult):
    """Descriptors of images in memory."""

    images: tuple[str, ...]
    """Names of the n images: their files, or "image 1", "image 2", ... for images in memory."""
    values: Float32Array
    """(n, D) float32: one descriptor of length one for each image; inner products are similarities."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Reason for each file that could not be used."""
    bad_images: Literal["error", "skip"] = "error"
    """How to treat skipped files: "error" makes them a ``problem``, "skip" accepts them."""
    made_by: str = ""
    """Digests of the nets, layers, test scales and aggregation; descriptors are comparable only if these are equal."""

    def records(self) -> list[Record]:
        """Return one plain record for each image: its name and its D numbers under the keys d1, d2, ..."""
        return [
            {"image": image, **{f"d{number}": value for number, value in enumerate(row.tolist(), start=1)}}
            for image, row in zip(self.images, self.values, strict=True)
        ]

    def columns(self) -> Mapping[str, str]:
        """Return the columns of the table: the first numbers of each descriptor."""
        shown = range(1, min(NUM_SHOWN, self.values.shape[1]) + 1)
        return {"image": "image", **{f"d{number}": f"d{number}" for number in shown}}

    def footer(self) -> list[str]:
        """Return the dimension of the descriptors, and a line for each skipped file."""
        dimensions = self.values.shape[1]
        text = f"{dimensions:,} numbers for each image"
        if dimensions > NUM_SHOWN:
            text += f": a table shows {NUM_SHOWN}, `format=csv` and `format=json` write all"
        return [f"{text}.", *self._skipped_lines()]
