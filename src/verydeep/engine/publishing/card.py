"""Model card: the README.md of a net on the Hugging Face Hub, headed by the YAML that the Hub reads."""

from collections.abc import Mapping, Sequence

import torch
from huggingface_hub import EvalResult, ModelCardData

from verydeep.configs.networks import PAPER_CROP, STRIDE
from verydeep.configs.published_nets import UNSETTLED, find_terms
from verydeep.configs.recipes import Recipe, Stage
from verydeep.configs.scales import in_pixels
from verydeep.engine.publishing.results import Result
from verydeep.models.weights.model_folder import ModelConfig, Provenance
from verydeep.wording import count_of, join_choices, rate_text

PAPER = "[Very Deep Convolutional Networks for Large-Scale Image Recognition](https://arxiv.org/abs/1409.1556)"

MAX_CLASSES = 20
"""Classes that a card lists; config.json has all."""


def model_card(repository: str, config: ModelConfig, results: Sequence[Result]) -> str:
    """Return the card of a net."""
    name = repository.partition("/")[2]
    imported = config.provenance.imported_from is not None
    sections = [
        f"---\n{card_data(name, config, results).to_yaml()}\n---",
        f"# {name}",
        introduction(config),
        use_section(repository, config),
        input_section(config),
        source_section(config) if imported else training_section(config),
        license_section(config),
        errors_section(config, results),
        classes_section(config),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def card_data(name: str, config: ModelConfig, results: Sequence[Result]) -> ModelCardData:
    """Return the values that the Hub reads; it counts right predictions, so errors become accuracies."""
    task = "image-feature-extraction" if config.is_trunk else "image-classification"
    task = task if config.regression is None else "object-detection"
    about = config.provenance
    is_unsettled, terms = about.license == UNSETTLED, find_terms(first_source(about))
    identifier = None if about.license is None else about.license.lower()  # the Hub knows licenses by identifiers alone
    if is_unsettled:
        identifier = "other"
    return ModelCardData(
        library_name="verydeep",
        pipeline_tag=task,
        license=identifier,
        license_name=UNSETTLED if is_unsettled else None,
        license_link=terms.address if is_unsettled and terms is not None else None,
        tags=["vgg", f"vgg-{config.network.lower()}", "arxiv:1409.1556"],
        model_name=name if results else None,
        eval_results=[
            EvalResult(
                task_type=task,
                dataset_type=result.data,
                dataset_name=result.data,
                dataset_split=result.split,
                metric_type="accuracy",
                metric_name=f"{error.replace('error', 'accuracy')} ({result.protocol})",
                metric_value=round(1 - share.percent / 100, 6),
            )
            for result in results
            for error, share in result.errors.items()
        ]
        or None,
    )


def first_source(about: Provenance) -> str:
    """Return the name of the published net that a net is, or that its training started from; else nothing."""
    return about.published_net or about.imported_source or ""


def license_section(config: ModelConfig) -> str:
    """Name the author and the terms of the published net that the weights come from, and what was changed."""
    about = config.provenance
    terms = find_terms(first_source(about))
    if terms is None:
        return ""
    change = (
        "the file was converted, so that the net takes RGB, 0-255; it computes the same"
        if about.published_net is not None
        else f"the net was trained further, on {about.data or 'other data'}"
    )
    return f"## License\n\nThe weights come from {first_source(about)}, {terms}\n\nChanges: {change}."


def introduction(config: ModelConfig) -> str:
    """Say what the net is, in one sentence."""
    classes = len(config.class_names)
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in config.build().parameters())
    purpose = {
        None: f"predicts {classes:,} classes" if classes else "has no fully connected layers: a trunk for other nets",
        "per-class": f"predicts a box for each of {classes:,} classes",
        "single-class": f"predicts boxes of {classes:,} classes",
    }[config.regression]
    width = "" if config.width == 1 else f" at {config.width:g} of the paper's width"
    return (
        f"A VGG net that {purpose}: network {config.network} of {PAPER}{width}, {count:,} parameters, in the format of "
        "the Python package `verydeep`."
    )


def use_section(repository: str, config: ModelConfig) -> str:
    """Show how to use the net."""
    net, output = f"hf-hub:{repository}", f"scores = net.model(images)  # (N, {config.num_outputs}, h, w)"
    if config.is_trunk:
        command, output = f"train photos --init-from {net}", "features = net.model(images)  # the output of pool5"
    else:
        command = f"{'predict' if config.regression is None else 'localize'} {net} photo.jpg"
    return f"""## Use

```sh
verydeep {command}
```

```python
import verydeep as vd

net = vd.load("{net}")
{output} of RGB images (N, 3, H, W), 0-255
```"""


def input_section(config: ModelConfig) -> str:
    """State the input convention."""
    mean = ", ".join(f"{value:.3f}" for value in config.mean_rgb)
    smallest = STRIDE if config.is_trunk else config.crop
    pixels = join_choices([str(in_pixels(q, config.crop)) for q in config.test_scales])
    scales = ", ".join(map(str, config.test_scales))
    rounding = "up, as in Caffe" if config.pooling == "ceil" else "down"
    return (
        f"## Input\n\nRGB, 0-255; the net itself subtracts its mean RGB ({mean}). It is fully convolutional and takes "
        f"images of any size from {smallest}x{smallest} pixels. Rescale images to a short side of {pixels} "
        f"pixels (test scale Q = {scales} at crop {PAPER_CROP}). Pooling rounds {rounding}."
    )


def source_section(config: ModelConfig) -> str:
    """Name the source of imported weights."""
    about = config.provenance
    rows = {
        "file": about.imported_from,
        "format": about.format,
        "published net": about.published_net,
        "address": about.url,
        "SHA-256": about.sha256,
        "license": about.license,
        "input of that system": about.input,
    }
    text = f"## Source\n\n{table_of(rows)}"
    if about.published_errors is not None:
        top1, top5 = about.published_errors
        text += (
            f"\n\nPublished errors on ILSVRC-2012's validation images: {top1}% top-1 and {top5}% top-5 "
            f"({about.published_protocol})."
        )
    return text


def training_section(config: ModelConfig) -> str:
    """State data and recipe."""
    about, recipe = config.provenance, config.provenance.recipe
    rows: dict[str, object] = {
        "data": about.data,
        "images": None if about.num_images is None else f"{about.num_images:,}",
        "source net": about.source_net,
        "license of the source net": about.license,
        "trained layers": "fc6, fc7 and fc8" if config.fine_tuned == "fc" else "all",
        "precision": about.precision,
        "seed": config.seed,
        "steps": about.steps,
    }
    parts = ["## Training", table_of(rows | ({} if recipe is None else recipe_rows(recipe)))]
    if recipe is not None:
        parts.append("\n".join(["Stages:\n", *(f"- {describe_stage(stage)}" for stage in recipe.stages)]))
    if about.converged is False:
        parts.append("The net has not converged: its learning rate did not drop as often as planned.")
    return "\n\n".join(parts)


def recipe_rows(recipe: Recipe) -> dict[str, object]:
    """Return the hyper-parameters that all stages share."""
    return {
        "batch": recipe.batch_size,
        "momentum": recipe.momentum,
        "weight decay": recipe.weight_decay,
        "initialization": recipe.initialization,
        **({} if recipe.balance == "none" else {"classes balanced by": recipe.balance}),
    }


def describe_stage(stage: Stage) -> str:
    """Return one line about a stage of a recipe."""
    if stage.milestones is None:
        schedule = "divided by 10 when the validation error stops improving"
    elif stage.milestones:
        schedule = "divided by 10 after " + ", ".join(f"{share:.0%}" for share in stage.milestones)
    else:
        schedule = "constant"
    return (
        f"train scale S = {stage.scale}, at most {count_of(stage.epochs, 'epoch')}, learning rate "
        f"{rate_text(stage.learning_rate)}, {schedule}; dropout {stage.dropout:g}"
    )


def errors_section(config: ModelConfig, results: Sequence[Result]) -> str:
    """State measured errors with their intervals."""
    if not results:
        return "## Errors\n\nNot measured."
    names = list(dict.fromkeys(name for result in results for name in result.errors))
    rows = [["data", "split", "images", "protocol", *names]]
    for result in results:
        errors = (str(result.errors[name]) if name in result.errors else "" for name in names)
        rows.append([result.data, result.split, f"{result.num_images:,}", result.protocol, *errors])
    explanation = "In percent, with 95% intervals over images."
    if config.regression is not None:
        explanation += " A box is right if its IoU with an instance of the true class is at least 0.5."
    remarks = dict.fromkeys(f"- {remark}" for result in results for remark in result.remarks)
    return "\n\n".join(["## Errors", explanation, markdown_table(rows), *(["\n".join(remarks)] if remarks else [])])


def classes_section(config: ModelConfig) -> str:
    """List the classes, in the order of the outputs."""
    if config.is_trunk:
        return ""
    labels = [
        name if name == words else f"{words} ({name})"
        for name, words in zip(config.class_names, config.class_words, strict=True)
    ]
    lines = [f"- {label}" for label in labels[:MAX_CLASSES]]
    others = len(labels) - len(lines)
    return "\n".join(["## Classes\n", *lines, *([f"\nand {others:,} others, in config.json."] if others else [])])


def table_of(rows: Mapping[str, object]) -> str:
    """Return a Markdown table of names and values, without those that are unknown."""
    return markdown_table([["", ""], *([name, str(value)] for name, value in rows.items() if value is not None)])


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first row is its head."""
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]])
