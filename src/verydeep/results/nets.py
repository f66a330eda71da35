"""The results of `convert`, `export` and `push`: a net that was written, and how to use it."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from verydeep.configs.published_nets import find_terms
from verydeep.results.result import Record, Result


@dataclass(frozen=True, eq=False, repr=False)
class _WrittenNet(Result):
    """A net that was written to files."""

    def table(self) -> None:
        """Return None: the footer contains everything."""

    def records(self) -> list[Record]:
        """Return one record with all fields."""
        return [self.as_dict()]


@dataclass(frozen=True, eq=False, repr=False)
class ConvertedNet(_WrittenNet):
    """A weight file of another system that was converted to a model folder."""

    source: Path
    """The weight file that was read."""
    out: Path
    """The model folder that was written."""
    network: str
    """Name of the network, such as D."""
    width: float
    """Factor on the channels of the convolutions; 1 in the paper."""
    crop: int
    """Side of the net's input, in pixels."""
    num_classes: int
    """Number of classes; 0 for a trunk."""
    provenance: Mapping[str, object]
    """Origin of the net: the record in its config.json."""
    license: str | None
    """License of the weights; None if it is not known."""
    notes: tuple[str, ...]
    """Sentences about what the file does not say, such as the order of the classes."""

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
    """A net that was written to a file for another system."""

    file: Path
    """The file that was written."""
    format: str
    """onnx, torch-export, torchvision or timm."""
    num_bytes: int
    """Size of the file, in bytes."""
    usage: tuple[str, ...]
    """Lines that describe input and output, and say how to load the file."""

    def footer(self) -> list[str]:
        """Return the file and how to use it."""
        return [f"Written: {self.file} ({self.num_bytes / 1e6:,.1f} MB)", *self.usage]


@dataclass(frozen=True, eq=False, repr=False)
class PushedNet(_WrittenNet):
    """A net that was uploaded to the Hugging Face Hub, or its files in a folder for inspection."""

    repository: str
    """Name of the repository, such as jane/photos-vgg16."""
    url: str | None
    """Address of the repository; None if nothing was uploaded."""
    out: Path | None
    """The folder with the files; None if they were uploaded."""
    files: tuple[str, ...]
    """Names of the files."""
    command: str
    """The command for which the net is made: predict or localize."""

    def footer(self) -> list[str]:
        """Return where the files are, and how to use them."""
        names = ", ".join(self.files)
        if self.out is not None:
            return [f"Written: {self.out}/ ({names}); nothing was uploaded."]
        return [f"Uploaded: {self.url} ({names})", f"Try:  verydeep {self.command} hf-hub:{self.repository} photo.jpg"]
