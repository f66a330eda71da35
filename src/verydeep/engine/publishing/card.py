"""The model card: the README.md of a net on the Hugging Face Hub, headed by the YAML that the Hub reads."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from verydeep.configs.networks import STRIDE
from verydeep.configs.recipes import Stage
from verydeep.configs.scales import in_pixels
from verydeep.engine.publishing.results import Result
from verydeep.models.weights.native import ModelConfig

PAPER = "[Very Deep Convolutional Networks for Large-Scale Image Recognition](https://arxiv.org/abs/1409.1556)"

LISTED_CLASSES = 20
"""Of more classes no more are listed: config.json has them all."""


def model_card(repository: str, config: ModelConfig, results: Sequence[Result]) -> str:
    """The card of a net.

    Args:
        repository: OWNER/NAME.
        config: what travels with the net.
        results: of its evaluations.
    """
    name = repository.partition("/")[2]
    # JSON is YAML, and quotes whatever a class or a folder may be called.
    head = [f"{key}: {json.dumps(each, ensure_ascii=False)}" for key, each in front_matter(name, config, results)]
    sections = [
        "\n".join(["---", *head, "---"]),
        f"# {name}",
        opening(config),
        use(repository, config),
        input_section(config),
        source_section(config) if config.provenance.imported_from is not None else training_section(config),
        errors_section(config, results),
        classes_section(config),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def front_matter(name: str, config: ModelConfig, results: Sequence[Result]) -> Iterator[tuple[str, Any]]:
    """What the Hub reads: keys and values."""
    task = "image-feature-extraction" if config.is_trunk else "image-classification"
    task = task if config.regression is None else "object-detection"
    yield "library_name", "verydeep"
    yield "pipeline_tag", task
    if config.provenance.license is not None:
        yield "license", config.provenance.license.lower()
    yield "tags", ["vgg", f"vgg-{config.network.lower()}", "arxiv:1409.1556"]
    if results:
        yield "model-index", [{"name": name, "results": [index_entry(task, result) for result in results]}]


def index_entry(task: str, result: Result) -> dict[str, Any]:
    """One evaluation in the Hub's words, which are of accuracy."""
    metrics = [
        {
            "type": "accuracy",
            "name": f"{name.replace('error', 'accuracy')} ({result.protocol})",
            "value": round(1 - share.percent / 100, 6),
        }
        for name, share in result.errors.items()
    ]
    return {
        "task": {"type": task},
        "dataset": {"type": result.data, "name": result.data, "split": result.split},
        "metrics": metrics,
    }


def opening(config: ModelConfig) -> str:
    """What it is, in two sentences."""
    classes = len(config.class_names)
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in config.build().parameters())
    what = {
        None: f"tells {classes:,} classes apart" if classes else "has no FC layers: a trunk for other nets",
        "per-class": f"draws a box for each of {classes:,} classes",
        "single-class": f"draws boxes of {classes:,} classes",
    }[config.regression]
    width = "" if config.width == 1 else f" at {config.width:g} of the paper's width"
    return (
        f"A VGG net that {what}: network {config.network} of {PAPER}{width}, {count:,} parameters, in the format of "
        "the Python package `verydeep`."
    )


def use(repository: str, config: ModelConfig) -> str:
    """How it is loaded."""
    net, outputs = f"hf-hub:{repository}", f"scores = net(images)  # (N, {config.num_outputs}, h, w)"
    if config.is_trunk:
        command, outputs = f"train photos --init-from {net}", "features = net(images)  # what pool5 gives,"
    else:
        command = f"{'predict' if config.regression is None else 'localize'} {net} photo.jpg"
    return f"""## Use

```sh
verydeep {command}
```

```python
import verydeep

net, config = verydeep.load("{net}")
{outputs} of RGB images (N, 3, H, W), 0-255
```"""


def input_section(config: ModelConfig) -> str:
    """The input convention."""
    mean = ", ".join(f"{value:.3f}" for value in config.mean_rgb)
    least = STRIDE if config.is_trunk else config.crop
    scales = ", ".join(f"{q} ({in_pixels(q, config.crop)} px)" for q in config.test_scales)
    rounding = "up, as Caffe's" if config.pooling == "ceil" else "down"
    return (
        f"## Input\n\nRGB, 0-255, and nothing else: the net itself subtracts its mean RGB ({mean}). It is fully "
        f"convolutional, and takes images of any size from {least}x{least} pixels; it is tested "
        f"at a short side of Q = {scales}. Pooling rounds {rounding}."
    )


def source_section(config: ModelConfig) -> str:
    """Where imported weights come from."""
    about = config.provenance
    rows = {
        "file": about.imported_from,
        "format": about.format,
        "published as": about.published_net,
        "address": about.url,
        "SHA-256": about.sha256,
        "license": about.license,
        "input there": about.input,
    }
    text = f"## Source\n\n{two_columns(rows)}"
    if about.published_errors is not None:
        top1, top5 = about.published_errors
        text += f"\n\nPublished for ILSVRC-2012's validation images: {top1}% top-1 and {top5}% top-5 error"
        text += f" ({about.published_protocol})."
    return text


def training_section(config: ModelConfig) -> str:
    """Data and recipe."""
    about = config.provenance
    rows: dict[str, Any] = {
        "data": about.data,
        "images": None if about.num_images is None else f"{about.num_images:,}",
        "source net": about.source_net,
        "license of the source net": about.license,
        "layers trained": "fc6, fc7 and fc8" if config.fine_tuned == "fc" else "all",
        "precision": about.precision,
        "seed": config.seed,
        "steps": about.steps,
    }
    stages: list[str] = []
    if (recipe := about.recipe) is not None:
        rows |= {
            "batch": recipe.batch_size,
            "momentum": recipe.momentum,
            "weight decay": recipe.weight_decay,
            "initialization": recipe.initialization,
        }
        stages = ["Stages:\n\n" + "\n".join(f"- {describe_stage(stage)}" for stage in recipe.stages)]
    text = "\n\n".join(["## Training", two_columns(rows), *stages])
    if about.converged is False:
        text += "\n\nThe training did not make all drops of its learning rate: the net has not converged."
    return text


def describe_stage(stage: Stage) -> str:
    """Return one line about a stage of a recipe."""
    if stage.milestones is None:
        schedule = "divided by 10 when the validation error stops improving"
    elif stage.milestones:
        schedule = "divided by 10 after " + ", ".join(f"{share:.0%}" for share in stage.milestones)
    else:
        schedule = "constant"
    return (
        f"train scale S = {stage.scale}, at most {stage.epochs} epochs, learning rate "
        f"{stage.learning_rate:g}, {schedule}; dropout {stage.dropout:g}"
    )


def errors_section(config: ModelConfig, results: Sequence[Result]) -> str:
    """Measured errors with their intervals."""
    if not results:
        return "## Errors\n\nNot measured."
    names = list(dict.fromkeys(name for result in results for name in result.errors))
    rows = [["data", "part", "images", "protocol", *names]]
    for result in results:
        errors = (str(result.errors[name]) if name in result.errors else "" for name in names)
        rows.append([result.data, result.split, f"{result.num_images:,}", result.protocol, *errors])
    words = "In percent, with 95% intervals over images."
    if config.regression is not None:
        words += " A box is right from an IoU of 0.5 with an instance of the true class."
    notes = dict.fromkeys(f"- {remark}" for result in results for remark in result.remarks)
    return "\n\n".join(["## Errors", words, table(rows), *(["\n".join(notes)] if notes else [])])


def classes_section(config: ModelConfig) -> str:
    """The classes, in the order of the outputs."""
    if config.is_trunk:
        return ""
    each = [
        name if name == words else f"{words} ({name})"
        for name, words in zip(config.class_names, config.class_words, strict=True)
    ]
    lines = [f"- {one}" for one in each[:LISTED_CLASSES]]
    more = len(each) - len(lines)
    rest = [f"\nand {more:,} more, in config.json."] if more else []
    return "\n".join(["## Classes\n", *lines, *rest])


def two_columns(rows: dict[str, Any]) -> str:
    """A table of what is known."""
    return table([["", ""], *([key, str(value)] for key, value in rows.items() if value is not None)])


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, the first row its head."""
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]])
