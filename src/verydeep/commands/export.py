"""`verydeep export`: write a net for other systems."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from verydeep.options import NetOption, PathSource, WeightsOption
from verydeep.parameters import Option, command
from verydeep.paths import real_path
from verydeep.wording import join_choices

if TYPE_CHECKING:
    from verydeep.models.export.state_dict import System
    from verydeep.models.weights.model_folder import ModelConfig
    from verydeep.results.nets import ExportedNet

ENDINGS = {"onnx": ".onnx", "torch-export": ".pt2", "torchvision": "-torchvision.pth", "timm": "-timm.safetensors"}


@command
def export(
    run: NetOption,
    *,
    format: Annotated[  # noqa: A002
        Literal["onnx", "torch-export", "torchvision", "timm"],
        Option("Format: onnx, torch-export, torchvision or timm.", metavar="FORMAT"),
    ],
    out: Annotated[PathSource | None, Option("The file to write.", "RUN's name, in the current folder", "FILE")] = None,
    weights: WeightsOption = "last",
) -> "ExportedNet":
    """Write a net in a format that other frameworks can run.

    onnx and torch-export write the whole net, ready to run. It takes a batch of RGB images (0-255) of any size, and
    returns the class score map and the probabilities. The file contains the class names. onnx needs pip install
    'verydeep[onnx]'.

    torchvision and timm write weights for the VGG of that library. The net must have crop 224 and full width. A
    JSON file next to the weights describes the input and names the classes.

    Try:
        verydeep export runs/photos-D-256-512-c224-s0 --format onnx
        verydeep export runs/photos-D-256-512-c224-s0 --format torchvision --out vgg16-photos.pth

    Raises:
        WeightsError: The net is damaged, or the framework has no such net.
        OptionError: The file exists.
        ResourceError: The file cannot be written, or a package is missing.
    """
    from verydeep.engine.nets.checks import open_net
    from verydeep.files import check_new_file
    from verydeep.models.export.state_dict import check_supported, metadata_path, write_state_dict
    from verydeep.results.nets import ExportedNet

    net = open_net(run, weights)
    path = Path(out or f"{net.path.stem if net.path.is_file() else real_path(net.path).name}{ENDINGS[format]}")
    check_new_file(path)
    if format in ("torchvision", "timm"):
        check_new_file(metadata_path(path))
    model, config = net.load(), net.config
    if format == "onnx":
        from verydeep.models.export.onnx import write_onnx

        write_onnx(path, model, config)
        run_line = f'Run: onnxruntime.InferenceSession("{path}").run(None, {{"images": images}})'
        usage = [*describe_program(config), run_line]
    elif format == "torch-export":
        from verydeep.models.export.torch_export import write_torch_export

        write_torch_export(path, model, config)
        usage = [*describe_program(config), f'Run: torch.export.load("{path}").module()(images)']
    else:
        check_supported(format, config)
        write_state_dict(path, format, model.state_dict(), config)
        usage = describe_state_dict(format, path, config)
    return ExportedNet(path, format, path.stat().st_size, tuple(usage))


def describe_program(config: "ModelConfig") -> list[str]:
    """Return lines about the input and the outputs of an exported program."""
    from verydeep.models.export.description import describe_input, describe_outputs, short_sides

    return [
        f"In: {describe_input(config)}",
        *(f"Out: {name} {words}" for name, words in describe_outputs(config).items()),
        f"Rescale photographs to a short side of {join_choices(list(map(str, short_sides(config))))} pixels.",
    ]


def describe_state_dict(system: "System", path: Path, config: "ModelConfig") -> list[str]:
    """Return lines about how exported weights are loaded, and about the input."""
    from verydeep.models.export.state_dict import metadata_path, state_dict_metadata

    about = state_dict_metadata(system, config)
    net, classes = about["architecture"], about["num_classes"]
    load = (
        f'net = torchvision.models.{net}(num_classes={classes}); net.load_state_dict(torch.load("{path}")); net.eval()'
        if system == "torchvision"
        else f'net = timm.create_model("{net}", num_classes={classes}, checkpoint_path="{path}").eval()'
    )
    mean, std = (", ".join(f"{value:.6f}" for value in about[key]) for key in ("mean", "std"))
    lines = [
        f"Written: {metadata_path(path)} (the input and the classes, as JSON)",
        f"Load: {load}",
        f"In: RGB in [0, 1], then transforms.Normalize(mean=[{mean}], std=[{std}])",
        "Use this mean: the usual one gives other scores, because images are padded with the mean.",
    ]
    if config.pooling == "ceil":
        lines.append(f"Pooling rounds down in {system} and up here: images of 224 by 224 give equal scores.")
    return lines
