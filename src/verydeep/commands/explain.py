"""`explain`: the class score maps of images, the windows behind them, and boxes."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from verydeep.errors import OptionError
from verydeep.options import (
    ImagesOption,
    JobOptions,
    NetSource,
    Numbers,
    PathSource,
    PredictorOption,
    ScalesOption,
    WeightsOption,
    lenient_decoding_of,
    number_text,
    read_scales,
    start_runtime,
)
from verydeep.parameters import Option, command
from verydeep.wording import name_given

if TYPE_CHECKING:
    from verydeep.data.pixels.decoding import Decoding
    from verydeep.data.split import Split
    from verydeep.engine.load import Predictor
    from verydeep.engine.nets.net import Net
    from verydeep.engine.runtime import Runtime
    from verydeep.results.explanations import Explanations
    from verydeep.results.objects import LocatedObjects


@command
def explain(
    run: PredictorOption,
    images: ImagesOption,
    *,
    top: Annotated[int, Option("Classes to map for each image.", metavar="N", smallest=1, largest=50)] = 3,
    out: Annotated[PathSource | None, Option("Folder for the pictures.", metavar="DIR")] = "explanations",
    point: Annotated[
        Numbers | None, Option("Pixel whose window is shown.", "the strongest position of each map", "X,Y")
    ] = None,
    box: Annotated[
        NetSource | None, Option("Localization net whose boxes are drawn.", "no boxes", "RUN", heading="box")
    ] = None,
    scales: ScalesOption = None,
    weights: WeightsOption = "last",
    **options: Unpack[JobOptions],
) -> "Explanations":
    """Draw maps that show where in an image a net sees the most probable classes.

    A map has one value for each window of the image: what the net says about this window, before it averages over
    all windows. Above the maps, the window of the strongest position is shown. The filters of the first layer,
    conv1_1, are drawn once. For a classifier made by `verydeep transfer`, a map shows what each position adds to
    the margin.

    An image that cannot be used is reported and gets no result. The exit code is then 1, unless you give
    `bad_images=skip`.

    Try:
        verydeep explain runs/generated-A-256-512-c64-s0 photo.jpg
        verydeep explain oxford-vgg16 holiday/ --scales 256,384 --top 2
        verydeep explain oxford-vgg16 photo.jpg --point 120,80

    Returns:
        Maps of each image, with their windows in pixels of the image; scores (n, K); boxes; filters (C, 3, k, k). With
        ``out=None``, nothing is drawn.

    Raises:
        WeightsError: There is no such net, it has no classes, or `box` predicts no boxes.
        DataError: None of the images can be used.
        OptionError: A test scale is too small, `point` lies outside of an image, the net predicts boxes, or the
            classifier takes boxes.
        ResourceError: A picture cannot be written.
    """
    from verydeep.engine.datasets import open_photographs
    from verydeep.engine.explanation.explanations import draw_explanations, explain_images
    from verydeep.engine.load import open_predictor
    from verydeep.engine.nets.argument_order import check_data_second
    from verydeep.engine.nets.checks import open_net

    check_data_second("explain RUN DATA", run, images)
    predictor = open_predictor(run, weights)
    test_scales = choose_scales(predictor, scales, weights)
    place = None if point is None else parse_point(number_text(point))
    box_net = None if box is None else open_net(box, weights)
    folder = None if out is None else Path(out)
    with start_runtime(options) as runtime:
        split = open_photographs(images, predictor.recorded_ranges, runtime, folder)
        decoding = lenient_decoding_of(options)
        explanations = explain_images(predictor, split, test_scales, runtime, decoding, top=top)
        if place is not None:
            check_inside(place, explanations)
        if box_net is not None:
            explanations = replace(explanations, boxes=locate_boxes(box_net, split, runtime, decoding))
    explanations = replace(explanations, point=place, bad_images=options["bad_images"])
    return explanations if folder is None else draw_explanations(predictor, split, explanations, folder)


def choose_scales(predictor: "Predictor", scales: Numbers | None, weights: str) -> tuple[int, ...]:
    """Return the test scales of the maps.

    Raises:
        OptionError: They cannot be read, the net predicts boxes, or a classifier has its own.
        WeightsError: The net is a trunk.
    """
    from verydeep.engine.nets.checks import check_predicts_classes
    from verydeep.engine.nets.net import Net

    if isinstance(predictor, Net):
        check_predicts_classes(predictor)
        return read_scales(scales) or predictor.config.test_scales
    if given := name_given({"scales": scales is not None, "weights": weights != "last"}):
        raise OptionError(f"A classifier has its own nets and test scales: omit {given}.")
    return predictor.representation.scales


def parse_point(text: str) -> tuple[float, float]:
    """Read "120,80": x and y in pixels.

    Raises:
        OptionError: The text is not two numbers from 0.
    """
    numbers = text.split(",")
    try:
        x, y = map(float, numbers)
    except ValueError:
        x = y = -1.0
    if not (0 <= x < float("inf") and 0 <= y < float("inf")):
        raise OptionError(f"`point={text}` is not a pixel: give its column and row from 0, such as 120,80.", "point")
    return x, y


def check_inside(point: tuple[float, float], explanations: "Explanations") -> None:
    """Refuse a point outside of a photograph.

    Raises:
        OptionError: It lies outside of one.
    """
    (x, y), sizes = point, [maps[0].photograph_size for maps in explanations.maps]
    for image, (height, width) in zip(explanations.images, sizes, strict=True):
        if not (x < width and y < height):
            raise OptionError(
                f"`point={x:g},{y:g}` lies outside of {image}, which has {width}x{height} pixels: give a column below "
                f"{width} and a row below {height}.",
                "point",
            )


def locate_boxes(net: "Net", split: "Split", runtime: "Runtime", decoding: "Decoding") -> "LocatedObjects":
    """Locate the object of the most probable class of each image.

    Raises:
        WeightsError: The net predicts no boxes, or its source net is missing.
        DataError: None of the images can be used.
    """
    from verydeep.engine.localization.box_ensemble import build_box_ensemble
    from verydeep.engine.localization.merge_threshold import DEFAULT_THRESHOLD
    from verydeep.engine.localization.objects import locate_objects
    from verydeep.engine.nets.checks import check_predicts_boxes
    from verydeep.engine.nets.collection import Collection

    check_predicts_boxes(net)
    ensemble = build_box_ensemble([net.member()], "dense", None, Collection.parse("runs"), net.weights)
    return locate_objects(ensemble, split, DEFAULT_THRESHOLD, runtime, decoding, top=1)
