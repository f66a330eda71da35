"""The manifest of an archive: everything that all of its descriptors have in common."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from msgspec import Meta

from verydeep.engine.descriptors.activations import VERSION, default_layer
from verydeep.engine.descriptors.representation import DEFAULT_SCALES, Representation
from verydeep.engine.nets.digests import digest_of_net, open_unchanged_net
from verydeep.engine.nets.folders import RunFolder, Weights
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Precision, wants_bf16
from verydeep.errors import DataError, OptionError
from verydeep.files import check_output_folder
from verydeep.json_files import FileFormat, read_json, write_json
from verydeep.ops.descriptors import Aggregation
from verydeep.ops.value_ranges import ValueRanges

MANIFEST = "manifest.json"
FORMAT = FileFormat("verydeep-descriptors", 1 + VERSION, "`verydeep features`")


@dataclass(frozen=True)
class Manifest:
    """How all descriptors of an archive were made, and how many there are."""

    net: str
    """Absolute path of the net, or the name of a published net."""
    weights: Weights
    digest: str
    layer: str
    scales: Annotated[tuple[int, ...], Meta(min_length=1)]
    """Test scales Q."""
    aggregation: Aggregation
    precision: Literal["fp32", "bf16"]
    fast_decode: bool
    dimensions: Annotated[int, Meta(gt=0)]
    images_root: str
    """Folder that relative paths in the archive start at."""
    value_ranges: ValueRanges = field(default_factory=dict)
    """Ranges of values that are not bytes."""
    kernels: Literal["torch", "native"] | None = None
    """The kernels that compute its descriptors; None: not chosen yet, or by a version that did not record them."""
    num_images: int = 0
    """Number of images when the last update ended."""

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of the archive in ``folder``.

        Raises:
            DataError: there is none, it is damaged, or another version of verydeep wrote it.
        """
        if not (folder / MANIFEST).exists():
            raise DataError(f"{folder} is not an archive of descriptors: make one with `verydeep features`.")
        return read_json(folder / MANIFEST, cls, FORMAT)

    def write(self, folder: Path) -> None:
        """Write the manifest.

        Raises:
            ResourceError: the disk is full or the folder is not writable.
        """
        write_json(folder / MANIFEST, asdict(self), FORMAT)

    def representation(self, net: Net) -> Representation:
        """Return the representation of images by this net, which is the archive's."""
        layers, ranges = (self.layer,), self.value_ranges
        return Representation((net,), layers, self.scales, self.aggregation, value_ranges=ranges, keeper="archive")

    def open_net(self, folder: Path) -> Net:
        """Open the net that described the images of the archive in ``folder``.

        Raises:
            WeightsError: it is no longer there, or another net has taken its place.
        """
        return open_unchanged_net(Path(self.net), self.weights, self.digest, folder / MANIFEST)


@dataclass(frozen=True)
class ArchiveOptions:
    """How photographs are to be described; None stands for what the archive has, or for the default in a new one."""

    layer: str | None = None
    scales: tuple[int, ...] | None = None
    aggregation: Aggregation | None = None
    precision: Precision = "auto"
    fast_decode: bool = False
    """Whether large JPEGs are decoded at a lower resolution; False also stands for what the archive has."""


def resolve_manifest(folder: Path, net: Net, options: ArchiveOptions, device: str = "auto") -> Manifest:
    """Return the manifest that the archive in ``folder`` has, or that a new archive gets.

    Args:
        folder: the archive's folder, which need not exist.
        net: describes the photographs.
        options: must agree with an archive that exists.
        device: decides the precision of a new archive if the options leave it to the hardware.

    Raises:
        OptionError: the archive has descriptors that were computed in another way, or the net has no such layer.
        DataError: the folder holds other things, or its manifest cannot be read.
    """
    if not (folder / MANIFEST).exists():
        check_output_folder(folder, lambda name: name.startswith("."), "an archive")
        return _new_manifest(net, options, device)
    manifest = Manifest.read(folder)
    if digest_of_net(net) != manifest.digest:
        raise OptionError(
            f"{folder} holds descriptors of {manifest.net}, and {net.path} is another net: choose another `out`.", "out"
        )
    for parameter, current, requested in (
        ("layer", manifest.layer, options.layer),
        ("scales", manifest.scales, options.scales),
        ("aggregate", manifest.aggregation, options.aggregation),
        ("precision", manifest.precision, None if options.precision == "auto" else options.precision),
    ):
        if requested not in (None, current):
            value = ",".join(map(str, current)) if isinstance(current, tuple) else current
            raise OptionError(f"{folder} was made with `{parameter}={value}`: use that, or another `out`.", parameter)
    if options.fast_decode and not manifest.fast_decode:
        raise OptionError(
            f"{folder} was made without `fast_decode=True`: omit it, or choose another `out`.", "fast_decode"
        )
    return replace(manifest, net=net.stored_path, weights=net.weights)  # the net may have been moved


def read_archive_weights(folder: Path, run: Path) -> Weights:
    """Return which weights of a run described the images of an archive; "last" for a new archive or a single net.

    Raises:
        DataError: the manifest cannot be read.
    """
    has_choice = (folder / MANIFEST).exists() and RunFolder(run).best.is_dir()
    return Manifest.read(folder).weights if has_choice else "last"


def _new_manifest(net: Net, options: ArchiveOptions, device: str) -> Manifest:
    layer = options.layer or default_layer(net.config)
    representation = Representation(
        (net,), (layer,), options.scales or DEFAULT_SCALES, options.aggregation or "average"
    )
    representation.check()
    return Manifest(
        net=net.stored_path,
        weights=net.weights,
        digest=digest_of_net(net),
        layer=layer,
        scales=representation.scales,
        aggregation=representation.aggregation,
        precision="bf16" if wants_bf16(options.precision, device) else "fp32",
        fast_decode=options.fast_decode,
        dimensions=_count_dimensions(representation),
        images_root="",
    )


def _count_dimensions(representation: Representation) -> int:
    """Return D of a representation by one net, without reading its weights."""
    ((net, layer),) = representation
    side = net.config.crop
    with torch.device("meta"):
        activations = net.config.build().to("meta").activations(torch.empty(1, 3, side, side), [layer])[layer]
    return int(activations.shape[1]) * (len(representation.scales) if representation.aggregation == "stack" else 1)
