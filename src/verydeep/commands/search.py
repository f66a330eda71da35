"""`search`: the photographs of an archive that are most similar to given images."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from verydeep.errors import OptionError
from verydeep.options import KernelOptions, PathSource, QueriesOption, SearchOptions, start_runtime
from verydeep.parameters import Option, command
from verydeep.wording import join_choices

if TYPE_CHECKING:
    from verydeep.data.folders.photographs import Photographs
    from verydeep.data.split import Split
    from verydeep.engine.archive.manifest import Manifest
    from verydeep.engine.archive.search import Neighbor
    from verydeep.engine.runtime import Runtime
    from verydeep.results.descriptors import Descriptors
    from verydeep.results.neighbors import Neighbors


@command
def search(
    archive: Annotated[PathSource, Option("Folder written by `verydeep features`.", metavar="ARCHIVE")],
    images: QueriesOption,
    *,
    top: Annotated[int, Option("Neighbors of each image.", metavar="N", smallest=1)] = 10,
    out: Annotated[PathSource | None, Option("Picture of the neighbors.", "no picture", "FILE")] = None,
    **options: Unpack[SearchOptions],
) -> "Neighbors":
    """Find the photographs in an archive that are most similar to given images.

    The images are described with the archive's own net and options. The similarity of two photographs is the inner
    product of their descriptors, which is 1 for the same photograph. A photograph that is in the archive finds
    itself first.

    An image that cannot be used is reported and gets no result. The exit code is then 1, unless you give
    `bad_images=skip`.

    Try:
        verydeep search photos-described holiday.jpg --out neighbors.png
        verydeep search photos-described new/ --top 1 --format csv > copies.csv

    Returns:
        Paths and similarities (n, top) of the neighbors. A program that searches often can describe the images with a
        net in memory: ``search(archive, describe(net, images))`` reads no net from the disk.

    Raises:
        DataError: The archive cannot be read or is empty, or none of the images can be used.
        WeightsError: The archive's net is missing, or another net has taken its place.
        OptionError: `out` does not end in the suffix of an image format, or exists.
        ResourceError: The picture cannot be written, or photographs were removed from the archive during the search.
    """
    from verydeep.engine.archive.manifest import Manifest
    from verydeep.engine.archive.pictures import draw_neighbors
    from verydeep.engine.archive.search import find_neighbors
    from verydeep.engine.nets.argument_order import check_data_second
    from verydeep.results.descriptors import Descriptors

    folder, picture = Path(archive), None if out is None else Path(out)
    if picture is not None:
        check_picture(picture)
    check_data_second("search ARCHIVE DATA", archive, images)
    manifest = Manifest.read(folder)
    kernels: KernelOptions = options
    with start_runtime({**kernels, "precision": "auto"}, bf16=manifest.precision == "bf16") as runtime:
        if isinstance(images, Descriptors):
            check_descriptors(images, folder, manifest, picture)
            split, descriptors = None, images
        else:
            split, descriptors = describe_queries(images, folder, manifest, runtime)
        neighbors = find_neighbors(
            folder, manifest, descriptors.values, top, files=descriptors.images, device=runtime.device
        )
    if picture is not None and split is not None:
        draw_neighbors(split, neighbors, picture)
    return replace(collect_neighbors(descriptors, neighbors, picture), bad_images=options["bad_images"])


def check_descriptors(descriptors: "Descriptors", folder: Path, manifest: "Manifest", picture: Path | None) -> None:
    """Refuse descriptors that were made otherwise than the archive's, and a picture of images that are not given.

    Raises:
        OptionError: Net, layer, test scales or aggregation differ, or there are no images to draw.
    """
    scales = ",".join(map(str, manifest.scales))
    if descriptors.made_by != manifest.representation(manifest.open_net(folder)).identify():
        raise OptionError(
            f"These descriptors were not made in the same way as those of the archive: describe the images with "
            f"{manifest.net}, `layer={manifest.layer}`, `scales={scales}` and `aggregate={manifest.aggregation}`.",
            "images",
        )
    if picture is not None:
        raise OptionError("Descriptors cannot be drawn: give images, or omit `out`.", "out")


def describe_queries(
    images: "Photographs", folder: Path, manifest: "Manifest", runtime: "Runtime"
) -> "tuple[Split, Descriptors]":
    """Describe images like those of an archive; return those that can be used.

    Raises:
        DataError: None of the images can be used.
        WeightsError: The archive's net is missing, or another net has taken its place.
    """
    from verydeep.data.pixels.decoding import Decoding
    from verydeep.engine.datasets import open_photographs
    from verydeep.engine.descriptors.in_memory import describe_images

    representation = manifest.representation(manifest.open_net(folder))
    split = open_photographs(images, representation.recorded_ranges, runtime)
    decoding = Decoding("skip", manifest.fast_decode)
    descriptors = describe_images(representation, split, runtime, decoding)
    described = [index for index, file in enumerate(split.files) if file not in descriptors.skipped]
    return split.subset(described), descriptors


def check_picture(picture: Path) -> None:
    """Refuse a picture of an unknown format, and one that exists, which may be a photograph.

    Raises:
        OptionError: The suffix is unknown, or the file exists.
    """
    from verydeep.engine.archive.pictures import FORMATS
    from verydeep.files import check_new_file

    if picture.suffix.lower() not in FORMATS:
        raise OptionError(f"`out={picture}` must end in {join_choices(FORMATS)}.", "out")
    check_new_file(picture)


def collect_neighbors(
    descriptors: "Descriptors", neighbors: "Sequence[Sequence[Neighbor]]", picture: Path | None
) -> "Neighbors":
    """Return the neighbors of the described images as a result."""
    import numpy as np

    from verydeep.results.neighbors import Neighbors

    paths = [[each.path for each in row] for row in neighbors]
    return Neighbors(
        images=descriptors.images,
        paths=tuple(tuple(map(shorten_path, row)) for row in paths),
        similarities=np.array([[each.similarity for each in row] for row in neighbors], np.float32),
        missing=~np.array([[os.path.exists(path) for path in row] for row in paths]),  # noqa: PTH110 - never raises
        picture=picture,
        skipped=descriptors.skipped,
    )


def shorten_path(path: Path) -> str:
    """Return a path as one would type it: relative to the working folder if it lies in it."""
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()
