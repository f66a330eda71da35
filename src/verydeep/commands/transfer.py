"""``verydeep transfer``: a classifier of a few photographs per class, without training a net."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from verydeep.configs.scales import parse_test_scales
from verydeep.errors import VerydeepError
from verydeep.options import (
    BadImages,
    Device,
    Devices,
    FastDecode,
    Precision,
    Weights,
    Workers,
    check_range,
    option,
)


def transfer(
    data: Annotated[
        str,
        Positional,
        arg(metavar="DATA", help="Class folders, a folder with labels.csv (path,label;label), VOC, or Caltech."),
    ],
    run: Annotated[
        tuple[Path, ...],
        Positional,
        arg(metavar="RUN", help="The nets that describe: runs, weight files, oxford-vgg16, ...; several are stacked."),
    ],
    /,
    *,
    layer: Annotated[
        str | None,
        option("Whose activations: relu7, fc7 (before ReLU), relu5_3, pool5, ...", "relu7; of a trunk pool5", "NAME"),
    ] = None,
    scales: Annotated[
        str | None,
        option("Test scales Q beside a crop of 224.", "256,384,512; VOC: 640 and 768, too", "Q,Q,.."),
    ] = None,
    aggregate: Annotated[
        Literal["average", "stack", "max"] | None,
        option("What becomes of the scales.", "average; Caltech: stack"),
    ] = None,
    c: Annotated[
        str | None,
        option("What a wrong margin costs: one value, or several to choose from.", "0.01 to 100", "X,X,.."),
    ] = None,
    num_train: Annotated[
        int | None, option("Photographs of each class to learn from.", "the set's protocol, or four fifths", "N")
    ] = None,
    num_test: Annotated[
        int | None, option("Photographs of each class to test on, at most; 0: none.", "the set's protocol", "N")
    ] = None,
    num_splits: Annotated[int | None, option("How often they are drawn.", "Caltech: 3, else 1", "N")] = None,
    seed: int = 0,
    part: Annotated[
        Literal["val", "test"] | None, option("What is tested on, where a set has both.", "test, if it is there")
    ] = None,
    actions: Annotated[
        Literal["image", "image+box"] | None,
        option("VOC-2012: its action task, of whole images, or of the persons' boxes too.", "its classes"),
    ] = None,
    submission: Annotated[
        Path | None, option("VOC: write the result files that its server takes.", metavar="DIR")
    ] = None,
    weights: Weights = "last",
    precision: Precision = "auto",
    device: Device = "auto",
    devices: Devices = 1,
    workers: Workers = None,
    bad_images: BadImages = "error",
    fast_decode: FastDecode = False,
    out: Annotated[Path | None, option("Where the classifier goes.", "runs/DATA-transfer-NETS", "DIR")] = None,
) -> None:
    """Turn photographs into a classifier: a net describes them, linear SVMs tell the descriptors apart.

    The nets learn nothing, so a few photographs of each class are enough. The classifier is scored as its data set is
    (mean class recall, mean AP), and a RUN of `verydeep predict`. With several draws the first one's is kept.

    Try:
        verydeep transfer photos oxford-vgg16
        verydeep transfer photos oxford-vgg16 --num-train 5 --num-splits 3
        verydeep transfer caltech oxford-vgg16 oxford-vgg19
        verydeep transfer VOC2012 oxford-vgg16 oxford-vgg19 --actions image+box --submission results
    """
    from verydeep.configs.transfer import SCALES
    from verydeep.data.decoding import Decoding
    from verydeep.data.transfer_sets import open_transfer_set
    from verydeep.engine import runtime as engine
    from verydeep.engine.datasets import data_folder, data_name
    from verydeep.engine.descriptors.activations import default_layer
    from verydeep.engine.descriptors.representation import Representation
    from verydeep.engine.launching import launched
    from verydeep.engine.log import Log
    from verydeep.engine.nets.net import Net
    from verydeep.engine.transfer.report import describe_data, write_transfer_result
    from verydeep.engine.transfer.svm_training import COSTS, require_scikit_learn
    from verydeep.engine.transfer.task import TransferTask, run_transfer

    check_range("--devices", devices, 1)
    check_range("--workers", workers, 0)
    check_range("--seed", seed, 0, 2**31 - 1)
    if num_test == 0 and num_splits is not None:
        raise VerydeepError(
            "--num-test 0 tests nothing, so there is nothing to draw several times: leave --num-splits out."
        )
    if not run:
        raise VerydeepError("Say which net describes the photographs: name a run behind DATA, or oxford-vgg16.")
    require_scikit_learn()
    costs = COSTS if c is None else parse_costs(c)
    transfer_set = open_transfer_set(
        data_folder(data),
        seed=seed,
        num_train=num_train,
        num_test=num_test,
        num_splits=num_splits,
        part=part,
        actions=actions is not None,
    )
    nets = tuple(Net.open(path, weights) for path in run)
    multi_scale = SCALES[transfer_set.kind]
    representation = Representation(
        nets=nets,
        layers=tuple(layer or default_layer(net.config) for net in nets),
        scales=multi_scale.scales if scales is None else parse_test_scales(scales),
        aggregation=aggregate or multi_scale.aggregation,
        coverage=actions or "image",
    )
    task = TransferTask(transfer_set, representation, costs, seed, Decoding(bad_images, fast_decode))
    subject = {None: "", "image": "-actions", "image+box": "-actions-boxes"}[actions]
    place = out or Path("runs") / f"{data_name(data)}{subject}-transfer-{'+'.join(path.name for path in run)}"
    task.check(place, submission)
    if launched(devices):
        return
    with engine.start(device=device, bf16=engine.wants_bf16(precision, device), num_workers=workers) as runtime:
        log = Log(silent=not runtime.is_main)
        log.info(describe_data(transfer_set, task.split))
        skipped = task.compute_descriptors(runtime)
    if runtime.is_main:  # the others have done their part
        result = run_transfer(task, skipped, runtime, with_curve=True)
        write_transfer_result(result, place, submission, log)


def parse_costs(text: str) -> tuple[float, ...]:
    """Read "0.1,1,10".

    Raises:
        VerydeepError: these are not different numbers above 0.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 < value < float("inf") for value in values) or len(set(values)) < len(values):
        raise VerydeepError(f"--c {text!r}: write different numbers above 0, as 0.1,1,10.")
    return values
