"""``verydeep features``: descriptors of any number of photographs, on the disk."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from verydeep.configs.scales import parse_test_scales
from verydeep.options import (
    BadImages,
    Device,
    Devices,
    FastDecode,
    Precision,
    Run,
    Workers,
    check_range,
    option,
)


def features(
    run: Run,
    images: Annotated[
        tuple[str, ...], Positional, arg(metavar="IMAGE", help='Photographs, folders of them, or patterns ("*.jpg").')
    ],
    /,
    *,
    out: Annotated[Path, arg(help="Where the descriptors go, or are already.", metavar="DIR")],
    layer: Annotated[
        str | None,
        option("Whose activations: relu7, fc7 (before ReLU), relu5_3, pool5, ...", "relu7; of a trunk pool5", "NAME"),
    ] = None,
    scales: Annotated[str | None, option("Test scales Q beside a crop of 224.", "256", "Q,Q,..")] = None,
    aggregate: Annotated[
        Literal["average", "stack", "max"] | None, option("What becomes of several scales.", "average")
    ] = None,
    weights: Annotated[
        Literal["last", "best"] | None, option("best: by validation error, which it then has seen.", "last")
    ] = None,
    precision: Precision = "auto",
    device: Device = "auto",
    devices: Devices = 1,
    workers: Workers = None,
    bad_images: BadImages = "error",
    fast_decode: FastDecode = False,
) -> None:
    """Describe photographs, millions if need be, by a net: numbers to search with and to learn from.

    A descriptor has 4096 numbers (relu7) and length one: a layer's activations, averaged over positions and the mirror
    image. They are written as they are computed, so a job that was stopped goes on with the same command, and other
    IMAGES add what is not there yet. In DIR all are described the same way: options left out are as they were;
    --no-fast-decode says no more than leaving it out.

    Try:
        verydeep features oxford-vgg16 photos --out photos-described
        verydeep features oxford-vgg16 photos --out photos-described --devices 8 --bad-images skip
        verydeep search photos-described holiday.jpg
    """
    from verydeep.data.decoding import Decoding
    from verydeep.engine import runtime as engine
    from verydeep.engine.archive.manifest import ArchiveOptions, read_archive_weights, resolve_manifest
    from verydeep.engine.archive.update import update_archive
    from verydeep.engine.launching import launched
    from verydeep.engine.nets.net import Net

    check_range("--devices", devices, 1)
    check_range("--workers", workers, 0)
    net = Net.open(run, weights or read_archive_weights(out, run))
    options = ArchiveOptions(
        layer=layer,
        scales=None if scales is None else parse_test_scales(scales),
        aggregation=aggregate,
        precision=precision,
        fast_decode=fast_decode,
    )
    chosen = resolve_manifest(out, net, options, device).precision
    if launched(devices):
        return
    with engine.start(device=device, bf16=chosen == "bf16", num_workers=workers) as runtime:
        update_archive(out, net, replace(options, precision=chosen), images, runtime, Decoding(bad_images))
