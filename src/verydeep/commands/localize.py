"""`localize`: the most probable classes of images, each with a box."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from verydeep.configs.protocols import parse_classes
from verydeep.errors import OptionError
from verydeep.options import (
    DataSource,
    ImagesOption,
    JobOptions,
    MergeThresholdOption,
    NetSource,
    Numbers,
    PathSource,
    RunsOption,
    ScalesOption,
    WeightsOption,
    lenient_decoding_of,
    read_scales,
    refuse_unused,
    start_runtime,
)
from verydeep.parameters import Option, command

if TYPE_CHECKING:
    from verydeep.engine.localization.box_ensemble import BoxEnsemble
    from verydeep.engine.nets.net import Net
    from verydeep.results.objects import LocatedObjects


@command
def localize(
    run: Annotated[NetSource, Option("A localization net: a run or hf-hub:OWNER/NAME.", metavar="RUN")],
    images: ImagesOption,
    *,
    top: Annotated[
        int, Option("Classes to list for each image, each with a box.", metavar="N", smallest=1, largest=5)
    ] = 1,
    out: Annotated[PathSource | None, Option("Folder for pictures with the boxes.", "no pictures", "DIR")] = None,
    scales: ScalesOption = None,
    weights: WeightsOption = "last",
    classes: Annotated[
        str | None,
        Option("Protocol of nets that predict the classes: D/384/384.", "RUN's source net", "TEXT", heading="box"),
    ] = None,
    runs: RunsOption = "runs",
    merge_threshold: MergeThresholdOption = None,
    **options: Unpack[JobOptions],
) -> "LocatedObjects":
    """Predict a box for each of the most probable classes of an image.

    A box is given by its first and last pixel column and row, counted from 0, in the upright image (EXIF rotation
    applied). Boxes of one class that lie close together are merged. Each merged box has a rating: the sum of the
    class's posteriors at the positions whose boxes became part of it.

    An image that cannot be used is reported and gets no result. The exit code is then 1, unless you give
    `bad_images=skip`.

    Try:
        verydeep localize runs/photos-D-384pcr-c224-s0 photo.jpg --out boxes
        verydeep localize runs/photos-D-384pcr-c224-s0 holiday/ --scales 352,384 --format csv > holiday.csv
        verydeep localize runs/photos-D-384pcr-c224-s0 photo.jpg --top 5 --classes "D/384/384 + E/384/384"

    Returns:
        Labels, probabilities and ratings (n, top), and boxes (n, top, 4). ``skipped`` gives the reason for each
        image that could not be used. A warning reports such images, unless ``bad_images="skip"``.

    Raises:
        WeightsError: There is no such net, it predicts no boxes, or a net that predicts the classes is missing.
        DataError: None of the images can be used.
        OptionError: A test scale is too small, or `classes` is not a protocol.
        ResourceError: A picture cannot be written.
    """
    from verydeep.engine.datasets import open_photographs
    from verydeep.engine.localization.merge_threshold import DEFAULT_THRESHOLD
    from verydeep.engine.localization.objects import draw_objects, locate_objects
    from verydeep.engine.nets.argument_order import check_data_second
    from verydeep.engine.nets.checks import open_net

    if classes is None:
        refuse_unused("Without `classes`", {"runs": str(runs) != "runs"})
    check_data_second("localize RUN DATA", run, images)
    net = open_net(run, weights)
    ensemble = ensemble_of_net(net, scales, classes, runs)
    folder = None if out is None else Path(out)
    threshold = DEFAULT_THRESHOLD if merge_threshold is None else merge_threshold
    with start_runtime(options) as runtime:
        split = open_photographs(images, ensemble.members[0].net.recorded_ranges, runtime, folder)
        objects = locate_objects(ensemble, split, threshold, runtime, lenient_decoding_of(options), top=top)
    objects = replace(objects, bad_images=options["bad_images"])
    return objects if folder is None else draw_objects(net, split, objects, folder)


def ensemble_of_net(net: "Net", scales: Numbers | None, classes: str | None, runs: DataSource) -> "BoxEnsemble":
    """Return one localization net as an ensemble, with the source of the classes of its boxes.

    Raises:
        WeightsError: The net predicts no boxes, or a net that predicts the classes is missing.
        OptionError: The scales or the protocol cannot be read.
    """
    from verydeep.engine.localization.box_ensemble import build_box_ensemble
    from verydeep.engine.nets.checks import check_predicts_boxes
    from verydeep.engine.nets.collection import Collection

    check_predicts_boxes(net)
    protocol = None if classes is None else parse_classes(classes)
    if protocol == "truth":
        raise OptionError("The true classes of these images are unknown: give a protocol as `classes`.", "classes")
    return build_box_ensemble(
        [net.member(read_scales(scales))], "dense", protocol, Collection.parse(str(runs)), net.weights
    )
