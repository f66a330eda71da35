"""The results of `convert`, `export` and `push`: a net for others, and how to use it."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from verydeep.configs.published_nets import find_terms
from verydeep.results.result import Record, Result


@dataclass(frozen=True, eq=False, repr=False)
class _WrittenNet(Result):
    """A net that was written for others."""

    def table(self) -> None:
        """Return no table: the remarks say it all."""

    def records(self) -> list[Record]:
        """Return one record with all values."""
        return [self.as_dict()]


@dataclass(frozen=True, eq=False, repr=False)
class ConvertedNet(_WrittenNet):
    """A weight file of another system that became a model folder."""

    source: Path
    """The weight file."""
    out: Path
    """The model folder."""
    network: str
    width: float
    crop: int
    num_classes: int
    """0 for a trunk."""
    provenance: Mapping[str, object]
    """Origin of the net, as config.json has it."""
    license: str | None
    """License of a published net; None where the file is not a known one."""
    notes: tuple[str, ...]
    """Sentences about what the file does not tell."""

    def footer(self) -> list[str]:
        """Return what was read, and what to do next."""
        width = "" if self.width == 1 else f" at {self.width:g} of the width"
        classes = f"{self.num_classes} classes" if self.num_classes else "no FC layers: a trunk"
        system = self.provenance.get("format") or "verydeep"
        lines = [f"{self.source}: {system}; net {self.network}{width}, crop {self.crop}, {classes}."]
        published = str(self.provenance.get("published_net"))
        if terms := find_terms(published):
            lines.append(f"It is {published}, {terms}")
        if self.provenance.get("input"):
            lines.append(
                f"It was made for {self.provenance['input']}; it now takes RGB, 0-255, and subtracts its mean itself."
            )
        out = shlex.quote(str(self.out))
        use = f"predict {out} photo.jpg" if self.num_classes else f"train photos --init-from {out}"
        return [*lines, *self.notes, f"Written: {self.out}", f"Try:  verydeep {use}"]


@dataclass(frozen=True, eq=False, repr=False)
class ExportedNet(_WrittenNet):
    """A net in a file for another system."""

    file: Path
    format: str
    num_bytes: int
    usage: tuple[str, ...]
    """Lines that say what goes in, what comes out, and how to load the file."""

    def footer(self) -> list[str]:
        """Return the file and how to use it."""
        return [f"Written: {self.file} ({self.num_bytes / 1e6:,.1f} MB)", *self.usage]


@dataclass(frozen=True, eq=False, repr=False)
class PushedNet(_WrittenNet):
    """A net on the Hugging Face Hub, or its files in a folder to look at."""

    repository: str
    url: str | None
    """None if nothing was uploaded."""
    out: Path | None
    """The folder to look at; None if the files were uploaded."""
    files: tuple[str, ...]
    command: str
    """The command that uses the net: "predict" or "localize"."""

    def footer(self) -> list[str]:
        """Return where the files are, and how to use them."""
        names = ", ".join(self.files)
        if self.out is not None:
            return [f"Written: {self.out}/ ({names}); nothing was uploaded."]
        return [f"Uploaded: {self.url} ({names})", f"Try:  verydeep {self.command} hf-hub:{self.repository} photo.jpg"]
