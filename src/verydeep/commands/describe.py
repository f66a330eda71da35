"""`describe`: descriptors of a few images, in memory."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Unpack

from verydeep.errors import OptionError
from verydeep.options import (
    AggregateOption,
    ImagesOption,
    JobOptions,
    LayerOption,
    Numbers,
    PredictorOption,
    WeightsOption,
    lenient_decoding_of,
    read_scales,
    start_runtime,
)
from verydeep.parameters import Option, command
from verydeep.wording import name_given

if TYPE_CHECKING:
    from verydeep.results.descriptors import Descriptors


@command
def describe(
    run: PredictorOption,
    images: ImagesOption,
    *,
    layer: LayerOption = None,
    scales: Annotated[
        Numbers | None, Option("Test scales, stated for crop 224; 256 means 73 pixels at crop 64.", "256", "Q,Q,..")
    ] = None,
    aggregate: AggregateOption = None,
    weights: WeightsOption = "last",
    **options: Unpack[JobOptions],
) -> "Descriptors":
    """Compute descriptors: numbers that are similar for similar images.

    A descriptor is the output of a layer (4096 numbers at relu7), averaged over positions and over the mirror
    image, and scaled to length one. The inner product of two descriptors is their similarity. All descriptors stay
    in memory; for many photographs, use `verydeep features`. A classifier of `verydeep transfer` uses its own nets
    and layers.

    An image that cannot be used is reported and gets no result. The exit code is then 1, unless you give
    `bad_images=skip`.

    Try:
        verydeep describe oxford-vgg16 holiday/ --format csv > holiday.csv
        verydeep describe oxford-vgg16 photo.jpg --layer pool5 --scales 256,384

    Returns:
        Descriptors (n, D). ``skipped`` gives the reason for each image that could not be used. A warning reports such
        images, unless ``bad_images="skip"``.

    Raises:
        WeightsError: There is no such net.
        DataError: None of the images can be used.
        OptionError: The net has no such layer, or a test scale is too small.
    """
    from verydeep.engine.datasets import open_photographs
    from verydeep.engine.descriptors.activations import default_layer
    from verydeep.engine.descriptors.in_memory import describe_images
    from verydeep.engine.descriptors.representation import DEFAULT_SCALES, Representation
    from verydeep.engine.load import open_predictor
    from verydeep.engine.nets.argument_order import check_data_second
    from verydeep.engine.nets.net import Net

    check_data_second("describe RUN DATA", run, images)
    predictor = open_predictor(run, weights)
    if isinstance(predictor, Net):
        test_scales = read_scales(scales) or DEFAULT_SCALES
        layer = layer or default_layer(predictor.config)
        representation = Representation((predictor,), (layer,), test_scales, aggregate or "average")
        representation.check()
    else:
        values = {"layer": layer, "scales": scales, "aggregate": aggregate}
        is_given = {name: value is not None for name, value in values.items()} | {"weights": weights != "last"}
        if given := name_given(is_given):
            raise OptionError(f"A classifier has its own representation: omit {given}.")
        representation = predictor.representation
    with start_runtime(options) as runtime:
        split = open_photographs(images, representation.recorded_ranges, runtime)
        descriptors = describe_images(representation, split, runtime, lenient_decoding_of(options))
    return replace(descriptors, bad_images=options["bad_images"])
