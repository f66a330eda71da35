"""How a run came about, in words: its command, data, net, recipe, environment and revision."""

import math
from collections.abc import Iterator, Sequence

from verydeep.configs.recipes import Recipe
from verydeep.engine.report_page.stored_run import StoredRun
from verydeep.engine.training.advice import AVERAGED, WORSE_THAN_GUESSING
from verydeep.wording import count_of, rate_text

Fact = tuple[str, str]
"""A name, and its value in words."""


def list_facts(runs: Sequence[StoredRun]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the name of each fact with its value for each run; empty where a run has none."""
    facts = [dict(_run_facts(run)) for run in runs]
    names = dict.fromkeys(name for each in facts for name in each)
    return [(name, tuple(each.get(name, "") for each in facts)) for name in names]


def _run_facts(run: StoredRun) -> Iterator[Fact]:
    commands = [each.command or "called from Python" for each in run.environments]
    yield "Command", "\n".join(dict.fromkeys(commands))
    yield "Data", _describe_data(run)
    yield from _net_facts(run)
    yield from _classifier_facts(run)
    if run.environments:
        last = run.environments[-1]
        yield "Date", last.date
        devices = "" if last.devices == 1 else f", {last.devices} devices"
        yield "Hardware", f"{last.hardware}{devices}, {last.precision}"
        yield "Software", f"verydeep {last.verydeep}, PyTorch {last.torch}, Python {last.python}"
        yield "Revision", last.revision or "unknown"


def _describe_data(run: StoredRun) -> str:
    data = run.settings.data if run.settings is not None else run.transfer.get("data")
    texts = [] if data is None else [str(data)]
    number = run.config.get("provenance", {}).get("num_images")
    if number:
        texts.append(count_of(number, "training image"))
    for evaluation in run.evaluations:
        values = evaluation.values
        own = values.get("data") if values.get("data") != data else None
        split = values.get("split")
        place = f"{own} ({split})" if own and split else own or split
        images = count_of(values.get("num_images", 0), "image")
        texts.append(f"tested on {place}: {images}" if place else f"tested on {images}")
    return "; ".join(dict.fromkeys(texts))


def _net_facts(run: StoredRun) -> Iterator[Fact]:
    config, settings = run.config, run.settings
    if not {"network", "width", "fc_width", "crop", "class_names"} <= config.keys():
        nets = dict.fromkeys(net for each in run.evaluations for net in each.values.get("nets", ()))
        if nets:
            yield "Nets", ", ".join(nets)
        return
    boxes = f", {config['regression']} boxes" if config.get("regression") else ""
    yield (
        "Net",
        f"{config['network']}, width {config['width']:g}, FC width {config['fc_width']}, crop {config['crop']}, "
        f"train scale {config.get('train_scale')}, {count_of(len(config['class_names']), 'class')}{boxes}",
    )
    yield "Seed", str(config.get("seed", 0))
    if settings is not None and settings.init_from:
        layers = ", of which fc6 to fc8 learn" if settings.fine_tuned == "fc" else ""
        yield "First weights", f"{settings.init_from}{layers}"
    if settings is not None:
        yield "Recipe", _describe_recipe(settings.recipe)
    provenance = config.get("provenance", {})
    if settings is not None and run.has_not_ended:
        yield "Training", "has not ended"
    elif steps := provenance.get("steps"):
        drops = "the learning rate dropped"
        endings = {True: f"; {drops} as planned", False: f"; {drops} less often than planned", None: ""}
        yield "Training", f"{count_of(steps, 'step')}{endings[provenance.get('converged')]}{_describe_guessing(run)}"


def _describe_guessing(run: StoredRun) -> str:
    """Return that the loss at the end of a training is that of guessing or above, if it is."""
    num_classes, losses = len(run.config["class_names"]), [line["loss"] for line in run.metrics[-AVERAGED:]]
    if run.settings is None or run.settings.regression is not None or not losses:
        return ""
    loss, guessing = sum(losses) / len(losses), math.log(num_classes)
    if loss <= run.settings.recipe.stuck_above * guessing:
        return ""
    steps = count_of(len(losses), "step")
    verdict = "worse than" if loss > WORSE_THAN_GUESSING * guessing else "still"
    average = f"the average loss of the last {steps} is {loss:.2f}, and random guessing gives {guessing:.2f}"
    return f"; {verdict} guessing: {average}"


def _describe_recipe(recipe: Recipe) -> str:
    stages = [
        f"{count_of(stage.epochs, 'epoch')} at train scale {stage.scale}, learning rate "
        f"{rate_text(stage.learning_rate)}, dropout {stage.dropout:g}"
        for stage in recipe.stages
    ]
    fixed = f"batch {recipe.batch_size}, momentum {recipe.momentum:g}, weight decay {recipe.weight_decay:g}"
    return f"{fixed}; {', then '.join(stages)}"


def _classifier_facts(run: StoredRun) -> Iterator[Fact]:
    if not run.transfer:
        return
    yield "Descriptors", str(run.transfer.get("representation", ""))
    draws = run.transfer.get("draws", [])
    numbers = [f"C={draw['C']:g}, {count_of(draw['num_train'], 'training photograph')}" for draw in draws]
    yield "Linear SVMs", "; ".join(dict.fromkeys(numbers))
