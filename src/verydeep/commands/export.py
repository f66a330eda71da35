"""``verydeep export``: a net for other systems."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from verydeep.options import Run, Weights, option

if TYPE_CHECKING:
    from verydeep.models.export.state_dict import System
    from verydeep.models.weights.native import ModelConfig

ENDINGS = {"onnx": ".onnx", "torch-export": ".pt2", "torchvision": "-torchvision.pth", "timm": "-timm.safetensors"}


def export(
    run: Run,
    /,
    *,
    format: Annotated[  # noqa: A002
        Literal["onnx", "torch-export", "torchvision", "timm"],
        arg(help="The first two are programs for images of any size; the others state dicts for nets of crop 224."),
    ],
    out: Annotated[Path | None, option("The file to write.", "named after RUN, in this folder", "FILE")] = None,
    weights: Weights = "last",
) -> None:
    """Write a net in a format that other systems run.

    onnx and torch-export take images of any number, height and width, RGB, 0-255, and give the class score map and the
    posterior; class names travel in the file. torchvision and timm take the weights by load_state_dict; the JSON file
    beside them says what their net must be given, and names the classes. ONNX needs pip install 'verydeep[onnx]'.

    Try:
        verydeep export runs/photos-D-256-512-c224-s0 --format onnx
        verydeep export runs/photos-D-256-512-c224-s0 --format torchvision --out vgg16-photos.pth
    """
    from verydeep.engine.nets.folders import model_folder
    from verydeep.models.weights.native import load_model

    model, config = load_model(model_folder(run, weights))
    path = out or Path(f"{run.stem if run.is_file() else run.resolve().name}{ENDINGS[format]}")
    if format == "onnx":
        from verydeep.models.export.onnx import write_onnx

        write_onnx(path, model, config)
        lines = program_in_words(config)
        lines.append(f'Run: onnxruntime.InferenceSession("{path}").run(None, {{"images": images}})')
    elif format == "torch-export":
        from verydeep.models.export.torch_export import write_torch_export

        write_torch_export(path, model, config)
        lines = program_in_words(config)
        lines.append(f'Run: torch.export.load("{path}").module()(images)')
    else:
        from verydeep.models.export.state_dict import write_state_dict

        write_state_dict(path, format, model.state_dict(), config)
        lines = state_dict_in_words(format, path, config)
    print("\n".join([f"Written: {path} ({path.stat().st_size / 1e6:,.1f} MB)", *lines]))


def program_in_words(config: "ModelConfig") -> list[str]:
    """What goes in, what comes out."""
    from verydeep.models.export.description import input_in_words, outputs_in_words, short_sides

    return [
        f"In: {input_in_words(config)}",
        *(f"Out: {name} {words}" for name, words in outputs_in_words(config).items()),
        f"Rescale photographs to a short side of {' or '.join(map(str, short_sides(config)))} pixels.",
    ]


def state_dict_in_words(system: "System", path: Path, config: "ModelConfig") -> list[str]:
    """How it is loaded, and what the net must be given there."""
    from verydeep.models.export.state_dict import about_path, describe_for

    about = describe_for(system, config)
    net, classes = about["architecture"], about["num_classes"]
    load = (
        f'net = torchvision.models.{net}(num_classes={classes}); net.load_state_dict(torch.load("{path}")); net.eval()'
        if system == "torchvision"
        else f'net = timm.create_model("{net}", num_classes={classes}, checkpoint_path="{path}").eval()'
    )
    mean, std = (", ".join(f"{value:.6f}" for value in about[key]) for key in ("mean", "std"))
    lines = [
        f"Written: {about_path(path)} (the input and the classes, as JSON)",
        f"Load: {load}",
        f"In: RGB in [0, 1], then transforms.Normalize(mean=[{mean}], std=[{std}])",
        "The mean is this net's own; any other, the usual one too, changes what lies beyond the borders of images.",
    ]
    if config.pooling == "ceil":
        lines.append(f"Pooling rounds down in {system} and up here: images of 224 by 224 give equal scores.")
    return lines
