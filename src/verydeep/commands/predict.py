"""`predict`: the most probable classes of images."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Unpack

from verydeep.configs.protocols import View
from verydeep.errors import OptionError
from verydeep.options import (
    ImagesOption,
    JobOptions,
    PredictorOption,
    ScalesOption,
    ViewOption,
    WeightsOption,
    lenient_decoding_of,
    read_scales,
    start_runtime,
)
from verydeep.parameters import Option, command
from verydeep.wording import name_given

if TYPE_CHECKING:
    from verydeep.data.pixels.decoding import Decoding
    from verydeep.data.split import Split
    from verydeep.engine.nets.net import Net
    from verydeep.engine.runtime import Runtime
    from verydeep.results.predictions import Predictions


@command
def predict(
    run: PredictorOption,
    images: ImagesOption,
    *,
    top: Annotated[int, Option("Classes to list for each image.", metavar="N", smallest=1)] = 5,
    scales: ScalesOption = None,
    views: ViewOption = "dense",
    weights: WeightsOption = "last",
    **options: Unpack[JobOptions],
) -> "Predictions":
    """Predict the classes of images.

    A net gives the probability of each class. A classifier made by `verydeep transfer` gives the margin of each
    class, which is above 0 if the class is predicted.

    An image that cannot be used is reported and gets no result. The exit code is then 1, unless you give
    `bad_images=skip`.

    Try:
        verydeep predict runs/generated-A-256-512-c64-s0 photo.jpg
        verydeep predict oxford-vgg16 holiday/ --format csv > holiday.csv
        find holiday -name "*.jpg" | verydeep predict oxford-vgg16 -

    Returns:
        Scores (n, K) of all classes. ``top(5)`` gives the five classes with the highest scores of each image.
        ``skipped`` gives the reason for each image that could not be used. A warning reports such images, unless
        ``bad_images="skip"``.

    Raises:
        WeightsError: There is no such net, or it has no classes.
        DataError: None of the images can be used.
        OptionError: A test scale is too small, or the net predicts boxes.
    """
    from verydeep.engine.datasets import open_photographs
    from verydeep.engine.load import open_predictor
    from verydeep.engine.nets.argument_order import check_data_second
    from verydeep.engine.nets.checks import check_predicts_classes
    from verydeep.engine.nets.net import Net

    check_data_second("predict RUN DATA", run, images)
    predictor = open_predictor(run, weights)
    if isinstance(predictor, Net):
        check_predicts_classes(predictor)
    elif given := name_given({"scales": scales is not None, "views": views != "dense", "weights": weights != "last"}):
        raise OptionError(f"A classifier has its own test scales and view: omit {given}.")
    with start_runtime(options) as runtime:
        split = open_photographs(images, predictor.recorded_ranges, runtime)
        if isinstance(predictor, Net):
            test_scales = read_scales(scales) or predictor.config.test_scales
            predictions = predict_by_net(predictor, split, views, test_scales, runtime, lenient_decoding_of(options))
        else:
            predictions = predictor.predict(split, runtime, lenient_decoding_of(options))
    return replace(predictions, num_top=top, bad_images=options["bad_images"])


def predict_by_net(
    net: "Net", split: "Split", view: View, scales: Sequence[int], runtime: "Runtime", decoding: "Decoding"
) -> "Predictions":
    """Compute the posteriors of images, averaged over views and test scales; nothing is cached.

    Raises:
        OptionError: A test scale is smaller than the crop.
        DataError: None of the images can be used.
        WeightsError: The net computes values that are not finite.
    """
    from verydeep.engine.inference import SINGLE_VIEWS, ViewAtScale
    from verydeep.engine.nets.checks import refuse_overflow
    from verydeep.engine.nets.kernels import choose_kernels
    from verydeep.engine.posteriors import predict_split
    from verydeep.engine.progress import run_with_progress
    from verydeep.results.predictions import Predictions

    views = [ViewAtScale(each, scale) for each in SINGLE_VIEWS[view] for scale in scales]
    runtime = choose_kernels(runtime, [net], len(split))
    steps = predict_split(net.prepare(runtime), split, views, runtime, decoding)
    with refuse_overflow(net):
        posteriors = run_with_progress(steps, "Predicting", len(split))
    assert posteriors is not None, "one process predicts"
    return Predictions(
        images=tuple(split.files[index] for index in posteriors.indices),
        scores=posteriors.mean(view, scales),
        class_names=net.class_names,
        class_words=net.config.class_words,
        skipped=posteriors.skipped,
    )
