"""How the open values of a request are chosen."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.rectangles import write_classifier
from verydeep.configs.networks import NetSizes
from verydeep.configs.protocols import PaperNet
from verydeep.configs.recipes import RECIPES
from verydeep.configs.scales import TrainScale
from verydeep.data.pixels.decoding import Decoding
from verydeep.engine.nets.collection import Collection
from verydeep.engine.nets.net import Net
from verydeep.engine.training.plan import plan_resumed, plan_training, run_name
from verydeep.engine.training.request import TrainRequest, choose_recipe, complete_localization, default_rate
from verydeep.engine.training.setup import make_config
from verydeep.errors import OptionError, VerydeepError
from verydeep.models.weights.model_folder import ModelConfig, load_config, save_config, save_weights


def net(name: str) -> ModelConfig:
    return ModelConfig(name, ("ant", "bee"), ("ant", "bee"))


def test_defaults_are_the_papers(photographs: Path) -> None:
    plan = plan_training(TrainRequest(str(photographs), precision="fp32"))
    settings = plan.settings
    assert (settings.network, settings.crop, settings.width, settings.fc_width) == ("A", 224, 1.0, 4096)
    assert settings.fine_tuned == "all" and not settings.bf16 and settings.mean_rgb is None
    # 60 images: a batch of 3, and a rate for it; all else as it stands in section 3.1.
    (stage,) = settings.recipe.stages
    assert stage == replace(RECIPES["256"].stages[0], learning_rate=pytest.approx(1e-2 * (8 / 256) ** 0.5))
    assert replace(settings.recipe, stages=RECIPES["256"].stages, batch_size=256) == RECIPES["256"]
    assert (len(plan.train), len(plan.val or ())) == (60, 15)
    assert plan.run.path == Path("runs") / f"{photographs.name}-A-256-c224-s0"
    assert plan.source is None and not plan.resume


def test_requested_values_are_used(photographs: Path, tmp_path: Path) -> None:
    request = TrainRequest(
        str(photographs),
        network="C",
        crop=64,
        scale=TrainScale(256, 512),
        width=0.5,
        fc_width=24,
        initialization="normal",
        epochs=9,
        batch_size=16,
        micro_batch=5,
        learning_rate=0.125,
        dropout=0.25,
        color_shift="eigenvalue",
        seed=4,
        decoding=Decoding("skip", fast=True),
        deterministic=True,
        runs=Collection(tmp_path),
    )
    plan = plan_training(request)
    settings = plan.settings
    same = ("network", "crop", "width", "fc_width", "seed", "micro_batch", "decoding",
            "deterministic", "fine_tuned")  # fmt: skip
    assert {name: getattr(settings, name) for name in same} == {name: getattr(request, name) for name in same}
    recipe = settings.recipe
    assert (recipe.batch_size, recipe.initialization, recipe.color_shift) == (16, "normal", "eigenvalue")
    (stage,) = recipe.stages
    assert (str(stage.scale), stage.epochs, stage.milestones) == ("256-512", 9, (0.60, 0.80, 0.93))
    assert (stage.learning_rate, stage.dropout) == (0.125, 0.25)
    assert plan.run.path == tmp_path / f"{photographs.name}-C-256-512-c64-w0.5-f24-s4"
    assert plan_training(replace(request, out=tmp_path / "mine")).run.path == tmp_path / "mine"


def test_the_name_of_a_run_describes_its_net() -> None:
    net = PaperNet("D", TrainScale(256, 512), "fc")
    assert run_name("/data/photos", net, NetSizes(), 0) == "photos-D-256-512fc-c224-s0"
    narrow = NetSizes(64, 0.25, 512)
    assert run_name("photos", net, narrow, 0) == "photos-D-256-512fc-c64-w0.25-f512-s0"
    assert run_name("generated", net, narrow, 7) == "generated-D-256-512fc-c64-s7"
    assert run_name("generated", net, NetSizes(64, 1.0, 512), 7) == "generated-D-256-512fc-c64-w1-s7"


@pytest.mark.parametrize(
    ("network", "source", "rate"),
    [
        ("D", None, 1e-2),
        ("D", "A", 1e-2),
        ("B-5x5", "A-LRN", 1e-2),
        ("A", "A", 1e-3),  # the next stage of the same net
        ("A-LRN", "A", 1e-3),
        ("E", "D", 1e-3),
        ("A", "D", 1e-3),
    ],
)
def test_the_learning_rate_depends_on_the_source_net(network: str, source: str | None, rate: float) -> None:
    source_config = None if source is None else net(source)
    assert default_rate(network, source_config) == rate
    photographs = choose_recipe(TrainRequest("photos"), network, source_config, 256 * 20)
    assert [stage.learning_rate for stage in photographs.stages] == [rate]
    generated = choose_recipe(TrainRequest("generated"), network, source_config, 10_000)
    assert [stage.learning_rate for stage in generated.stages] == [rate, rate]
    for data, count in (("photos", 1), ("generated", 2)):
        recipe = choose_recipe(TrainRequest(data, learning_rate=0.5), network, source_config, 10_000)
        assert [stage.learning_rate for stage in recipe.stages] == [0.5] * count


def test_the_learning_rate_on_a_trunk_is_that_of_random_weights() -> None:
    assert default_rate("D", ModelConfig("D", (), ())) == 1e-2


def test_the_generated_set_has_its_own_recipe() -> None:
    assert choose_recipe(TrainRequest("generated"), "A", None, 10_000) == RECIPES["generated"]
    assert choose_recipe(TrainRequest("generated"), "D", net("A"), 10_000) == RECIPES["generated"]


@pytest.mark.parametrize("name", ["256", "384", "256-512"])
def test_the_recipe_follows_the_train_scale(name: str) -> None:
    request = TrainRequest("photos", scale=TrainScale.parse(name))
    assert choose_recipe(request, "D", None if name == "256" else net("D"), 1_281_167) == RECIPES[name]


def test_mean_and_random_split_of_the_source_net_are_kept(photographs: Path, trained: Path) -> None:
    source_config = load_config(trained / "model")
    plan = plan_training(TrainRequest(source_config.split.data, network="D", crop=32, init_from=trained, seed=11))
    assert plan.source == source_config
    assert plan.settings.mean_rgb == source_config.mean_rgb
    assert (plan.settings.split_seed, plan.settings.val_fraction) == (3, 0.2)
    with pytest.raises(OptionError, match="held out again: omit `val_fraction`"):
        plan_training(TrainRequest(source_config.split.data, crop=32, init_from=trained, val_fraction=0.4))
    other = plan_training(TrainRequest(str(photographs / "val"), crop=32, init_from=trained, seed=11, val_fraction=0.4))
    assert (other.settings.split_seed, other.settings.val_fraction) == (11, 0.4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "Z"}, "`network=Z` is unknown"),
        ({"fine_tuned": "fc"}, "`fine_tune=fc` keeps .* `init_from`"),
        ({"init_from": Path("nowhere")}, "no run, model folder or weight file nowhere"),
        ({"data": "no-photographs"}, "no-photographs"),
    ],
)
def test_impossible_requests_are_refused_in_one_sentence(
    photographs: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(VerydeepError, match=message) as caught:
        plan_training(TrainRequest(**{"data": str(photographs), **changes}))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_an_existing_run_is_resumed_with_its_own_settings(photographs: Path, trained: Path) -> None:
    with pytest.raises(VerydeepError, match=f"`resume={trained}`"):
        plan_training(TrainRequest(str(photographs), out=trained))
    plan = plan_resumed(trained)
    assert plan.resume and plan.run.path == trained
    assert (plan.settings.seed, str(plan.settings.recipe.stages[0].scale)) == (3, "256-512")
    assert len(plan.train) == 60


def test_a_train_folder_is_split_again_as_before(tmp_path: Path, photographs: Path) -> None:
    """DATA/train without val beside it: the part that was divided is train/, and the command names DATA."""
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    for kind in sorted((photographs / "train").iterdir()):
        (data / "train" / kind.name).symlink_to(kind, target_is_directory=True)
    first = plan_training(TrainRequest(str(data), crop=32, seed=5, out=tmp_path / "first"))
    settings = replace(first.settings, mean_rgb=(1.0, 2.0, 3.0))
    save_config(tmp_path / "first" / "model", make_config(settings, first.train, first.val, len(first.train)))
    second = plan_training(TrainRequest(str(data), init_from=tmp_path / "first", out=tmp_path / "second"))
    assert second.settings.seed == 0 and second.settings.split_seed == 5
    assert first.val is not None and second.val is not None
    assert second.val.files == first.val.files


# Boxes (appendix A.1)


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """A net A of the photographs' classes, jittered."""
    return write_classifier(tmp_path / "classifier", scale="256-512")


def test_a_localization_net_has_the_sizes_of_its_source_net(photographs: Path, classifier: Path) -> None:
    source_config = load_config(classifier)
    plan = plan_training(
        TrainRequest(str(photographs), init_from=classifier, regression="single-class", fine_tuned="fc")
    )
    settings, recipe = plan.settings, plan.settings.recipe
    assert (settings.network, settings.crop, settings.width, settings.fc_width) == ("A", 32, 1 / 16, 16)
    assert (settings.regression, settings.fine_tuned, settings.mean_rgb) == (
        "single-class",
        "fc",
        source_config.mean_rgb,
    )
    assert plan.run.path == Path("runs") / f"{photographs.name}-A-256-512scr-fc-c32-w0.0625-f16-s0"
    # 60 images: a batch of 3, the rate of small data for it, the last layer the paper's way; all else as for classes.
    (stage,) = recipe.stages
    rate = pytest.approx(1e-2 * (8 / 256) ** 0.5)
    assert stage == replace(RECIPES["256"].stages[0], scale=TrainScale(256, 512), learning_rate=rate)
    assert (recipe.batch_size, recipe.initialization) == (8, "normal")
    with pytest.raises(OptionError, match=r"`scale=384` differs from .* rates the boxes and has 256-512"):
        plan_training(
            TrainRequest(str(photographs), init_from=classifier, regression="per-class", scale=TrainScale(384, 384))
        )


@pytest.mark.parametrize(("images", "rate"), [(1_281_167, 1e-3), (100_000, 1e-3), (99_999, 1e-2), (5_120, 1e-2)])
def test_the_learning_rate_of_boxes_depends_on_the_number_of_images(images: int, rate: float) -> None:
    """Whatever the network and what it starts from; by request, at another, and without dropout at first."""
    for source in ("A", "D"):
        request = TrainRequest("photos", regression="per-class", init_from=Path("net"))
        recipe = choose_recipe(request, "D", net(source), images)
        assert [stage.learning_rate for stage in recipe.stages] == [rate]
        assert recipe.batch_size == 256
    request = replace(request, learning_rate=0.25, dropout_after=2)
    stages = choose_recipe(request, "D", net("D"), images).stages
    assert [(stage.learning_rate, stage.dropout) for stage in stages] == [(0.25, 0.0), (0.25, 0.5)]


def test_boxes_of_the_generated_set_have_their_own_recipe(classifier: Path) -> None:
    """At its own S, whatever that of the source, as no other was measured; another by request."""
    request = TrainRequest("generated", regression="single-class", init_from=classifier)
    recipe = choose_recipe(
        complete_localization(request, load_config(classifier)), "A", load_config(classifier), 10_000
    )
    assert recipe == replace(RECIPES["localize-generated"], initialization="normal")
    other = complete_localization(replace(request, scale=TrainScale(384, 384)), load_config(classifier))
    (stage,) = choose_recipe(other, "A", load_config(classifier), 10_000).stages
    assert str(stage.scale) == "384"


def test_batch_and_rate_follow_the_number_of_images_with_boxes(photographs: Path, classifier: Path) -> None:
    plan = plan_training(TrainRequest(str(photographs), init_from=classifier, regression="per-class"))
    boxed = plan.train.subset(range(40))
    fewer = plan.restrict(boxed, None)
    assert (len(fewer.train), fewer.val, fewer.settings.recipe.batch_size) == (40, None, 8)
    (stage,) = fewer.settings.recipe.stages
    assert stage.learning_rate == pytest.approx(1e-2 * (8 / 256) ** 0.5)
    assert stage.milestones == (0.60, 0.80, 0.93) != plan.settings.recipe.stages[0].milestones
    assert replace(fewer.settings, recipe=plan.settings.recipe) == plan.settings
    plan = plan_training(TrainRequest(str(photographs), init_from=classifier, regression="per-class", batch_size=7))
    assert plan.restrict(boxed, plan.val).settings.recipe.batch_size == 7
    resumed = replace(plan, request=None)
    assert resumed.resume and resumed.restrict(boxed, None).settings == resumed.settings


def test_other_classes_or_another_order_are_refused(photographs: Path, tmp_path: Path) -> None:
    for names in (("bee", "apple", "cloud"), ("apple", "bee"), ("apple", "bee", "clouds")):
        folder = write_classifier(tmp_path / "-".join(names), names)
        with pytest.raises(VerydeepError, match=f"{folder} has other classes than .*{photographs.name}") as caught:
            plan_training(TrainRequest(str(photographs), init_from=folder, regression="per-class"))
        assert "\n" not in str(caught.value)


@pytest.fixture
def individuals(tmp_path: Path) -> Path:
    """Five individuals of each class, with two photographs each."""
    for name in ("ant", "bee"):
        for number in range(10):
            path = tmp_path / "animals" / name / f"{name}{number // 2}-{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40)).save(path)
    return tmp_path / "animals"


def test_groups_stay_together_and_are_recorded(individuals: Path, tmp_path: Path) -> None:
    pattern = r"(\w+)-"
    plan = plan_training(TrainRequest(str(individuals), crop=32, group_by=pattern))
    assert plan.val is not None
    names = [{Path(file).name.split("-")[0] for file in split.files} for split in (plan.train, plan.val)]
    assert not names[0] & names[1] and len(names[1]) == 2
    assert plan.settings.group_by == pattern
    plan = replace(plan, settings=replace(plan.settings, mean_rgb=(1.0, 2.0, 3.0)))
    config = make_config(plan.settings, plan.train, plan.val, len(plan.train))
    save_config(tmp_path / "run", config)
    save_weights(tmp_path / "run", config.build().state_dict())
    assert Net.open(tmp_path / "run").division == (0, 0.2, pattern)
    tuned = plan_training(TrainRequest(str(individuals), init_from=tmp_path / "run", seed=4))
    assert tuned.settings.division == (0, 0.2, pattern) and tuned.train.files == plan.train.files
    with pytest.raises(OptionError, match=r"was trained on .* with other groups") as refusal:
        plan_training(TrainRequest(str(individuals), init_from=tmp_path / "run", group_by="parent"))
    assert refusal.value.parameter == "group_by"


def test_groups_of_data_with_parts_are_refused(photographs: Path) -> None:
    for data in (str(photographs), "generated"):
        with pytest.raises(OptionError, match="so none are held out: omit `val_fraction`"):
            plan_training(TrainRequest(data, crop=32, val_fraction=0.5))
        with pytest.raises(OptionError, match="so none are held out: omit `group_by`") as refusal:
            plan_training(TrainRequest(data, crop=32, group_by="parent"))
        assert refusal.value.parameter == "group_by"
