"""`features`: descriptors of any number of photographs, in an archive on disk."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from verydeep.errors import OptionError
from verydeep.options import (
    IMAGES_HELP,
    AggregateOption,
    JobOptions,
    LayerOption,
    NetOption,
    Numbers,
    PathSource,
    PathSources,
    lenient_decoding_of,
    read_scales,
    start_runtime,
)
from verydeep.parameters import Option, command

if TYPE_CHECKING:
    from verydeep.results.archive import Archive


@command
def features(
    run: NetOption,
    images: Annotated[PathSources, Option(IMAGES_HELP, metavar="IMAGE")],
    *,
    out: Annotated[PathSource, Option("Folder of a new or an existing archive.", metavar="DIR")],
    layer: LayerOption = None,
    scales: Annotated[
        Numbers | None, Option("Test scales, stated for crop 224; 256 means 73 pixels at crop 64.", "256", "Q,Q,..")
    ] = None,
    aggregate: AggregateOption = None,
    weights: Annotated[
        Literal["last", "best"] | None, Option("Weights: last, or best on validation.", "last", "WHICH")
    ] = None,
    **options: Unpack[JobOptions],
) -> "Archive":
    """Write descriptors of photographs, millions if need be, to an archive.

    The descriptors are those of `verydeep describe`, saved as they are computed. To continue a stopped job, run the
    same command again. To add photographs, run it with the new ones. All descriptors of an archive are computed in
    the same way, so options that you omit keep the archive's values.

    An image that cannot be used is reported and left out. The exit code is then 1, unless you give `bad_images=skip`.

    Try:
        verydeep features oxford-vgg16 photos --out photos-described
        verydeep features oxford-vgg16 photos --out photos-described --devices 8 --bad-images skip
        verydeep search photos-described holiday.jpg

    Returns:
        The archive, which can be used as the path of its folder.

    Raises:
        WeightsError: There is no such net.
        DataError: None of the photographs can be used, or the archive cannot be read.
        OptionError: The archive has descriptors that were computed in another way, or the net has no such layer.
        ResourceError: Another job writes to the archive, or the disk is full.
    """
    from verydeep.data.pixels.images import unpack_images
    from verydeep.engine.archive.manifest import ArchiveOptions, read_archive_weights, resolve_manifest
    from verydeep.engine.archive.update import update_archive
    from verydeep.engine.nets.argument_order import check_data_second
    from verydeep.engine.nets.checks import open_net
    from verydeep.engine.nets.net import net_path

    folder = Path(out)
    values = list(unpack_images(images))
    paths = [os.fspath(value) for value in values if isinstance(value, str | os.PathLike)]
    if len(paths) < len(values):
        raise OptionError(
            "An archive holds descriptors of files: use `verydeep describe` for images in memory.", "images"
        )
    check_data_second("features RUN DATA --out DIR", run, paths)
    net = open_net(run, weights or read_archive_weights(folder, net_path(run)))
    archive_options = ArchiveOptions(
        layer=layer,
        scales=read_scales(scales),
        aggregation=aggregate,
        precision=options["precision"],
        fast_decode=options["fast_decode"],
    )
    precision = resolve_manifest(folder, net, archive_options, options["device"]).precision
    archive_options = replace(archive_options, precision=precision)
    with start_runtime(options, bf16=precision == "bf16") as runtime:
        archive = update_archive(folder, net, archive_options, paths, runtime, lenient_decoding_of(options))
    return replace(archive, bad_images=options["bad_images"])
