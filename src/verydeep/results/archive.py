"""The result of `features`: an archive of descriptors on disk."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from verydeep.results.result import Record, Result
from verydeep.wording import count_of, escape_controls


@dataclass(frozen=True, eq=False, repr=False)
class Archive(Result):
    """An archive of descriptors. It can be used as the path of its folder, as in `search`."""

    path: Path
    """The folder of the archive."""
    num_images: int
    """Number of photographs in the archive."""
    num_new: int
    """Number of photographs that this call added."""
    dimensions: int
    """Dimension of the descriptors."""
    representation: str
    """Net, layer, test scales and aggregation of all descriptors."""
    precision: str
    """Number format of the computation: fp32 or bf16."""
    num_bytes: int
    """Size of all descriptors on disk, in bytes."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Reason for each file that could not be decoded."""
    bad_images: Literal["error", "skip"] = "error"
    """How to treat skipped files: "error" makes them a ``problem``, "skip" accepts them."""

    @property
    def problem(self) -> str:
        """A sentence if a file could not be decoded and ``bad_images`` is not "skip"; otherwise an empty string."""
        if not self.skipped or self.bad_images == "skip":
            return ""
        first = escape_controls(next(iter(self.skipped.values())))
        others = "The other photographs are in the archive; `bad_images=skip` accepts that some are not."
        if len(self.skipped) == 1:
            return f"{first} {others}"
        return f"{len(self.skipped):,} files have no descriptor. The first: {first} {others}"

    def __fspath__(self) -> str:
        """Return the folder, so that the archive is a path."""
        return str(self.path)

    def records(self) -> list[Record]:
        """Return one record with all fields; of the skipped files, only their number."""
        record = self.as_dict()
        return [record | {"skipped": len(self.skipped)}]

    def table(self) -> None:
        """Return None: the footer contains everything."""

    def footer(self) -> list[str]:
        """Return what was written, and what to do next."""
        size = f"{count_of(self.num_images, 'image')}, {self.dimensions:,} numbers each, {self.num_bytes / 1e6:,.1f} MB"
        files = count_of(len(self.skipped), "file")
        skipped = f"Skipped: {files} that cannot be decoded, listed in {self.path}/skipped.json."
        return [
            f"Descriptors: {self.representation}, {self.precision}.",
            *([skipped] if self.skipped else []),
            f"Written: {self.path}/ (manifest.json, shards/): {size}.",
            f"Try:  verydeep search {shlex.quote(str(self.path))} photo.jpg",
        ]
