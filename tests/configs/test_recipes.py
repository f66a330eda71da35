"""The recipes against section 3.1, and how they change with the data and a user's options."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.configs.recipes import (
    RECIPES,
    Recipe,
    Stage,
    batch_size_for,
    localization_rate,
    replace_plateaus,
    scale_rate,
    shorten,
    with_options,
)
from verydeep.configs.scales import TrainScale
from verydeep.errors import OptionError

PAPERS = ("256", "384", "256-512")


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_values(name: str) -> None:
    recipe = RECIPES[name]
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay) == (256, 0.9, 5e-4)
    assert recipe.num_drops == 3
    assert (recipe.patience_epochs, recipe.patience_iterations) == (5, 500)
    assert recipe.bias_rate_factor == 2
    assert (recipe.color_shift, recipe.initialization) == ("std", "glorot")
    (stage,) = recipe.stages
    assert str(stage.scale) == name
    assert (stage.dropout, stage.milestones, stage.epochs, recipe.epochs) == (0.5, None, 74, 74)
    assert stage.learning_rate == {"256": 1e-2, "384": 1e-3, "256-512": 1e-3}[name]


def test_74_epochs_of_ilsvrc_are_370k_iterations() -> None:
    recipe = RECIPES["256"]
    assert recipe.epochs * 1_281_167 / recipe.batch_size == pytest.approx(370_000, rel=2e-3)


def test_the_generated_sets_staging() -> None:
    """Issue 3: S=256 without dropout, then [256;512] with; 1e-2 divided at 75% and 92% of all steps; batch 32."""
    recipe = RECIPES["generated"]
    first, second = recipe.stages
    assert (recipe.batch_size, recipe.epochs) == (32, 8)
    assert (str(first.scale), first.dropout, first.epochs, first.milestones) == ("256", 0, 4, ())
    assert (str(second.scale), second.dropout, second.epochs) == ("256-512", 0.5, 4)
    assert second.milestones is not None
    assert [(4 + 4 * share) / 8 for share in second.milestones] == pytest.approx([0.75, 0.92])
    assert first.learning_rate == second.learning_rate == 1e-2


def test_the_recipe_for_boxes_differs_in_its_rate_alone() -> None:
    """Section A.1: as in section 3.1, at 1e-3; at S = 384 classification nets have that rate, too."""
    paper = json.loads(Path(__file__).with_name("paper_tables.json").read_text())
    (rate,) = (claim["text_value"]["lr0"] for claim in paper["text_claims"] if claim["id"] == "loc_lr")
    assert with_options(RECIPES["256"], learning_rate=rate) == RECIPES["localize"]
    assert with_options(RECIPES["localize"], scale=TrainScale(384, 384)) == RECIPES["384"]


def test_the_recipe_for_the_generated_sets_boxes() -> None:
    """Issue 5: S = 256 alone, ten epochs at 1e-2 without dropout."""
    recipe = RECIPES["localize-generated"]
    (stage,) = recipe.stages
    assert (str(stage.scale), stage.dropout, stage.epochs, stage.learning_rate) == ("256", 0, 10, 1e-2)
    assert recipe.batch_size == RECIPES["generated"].batch_size
    assert replace_plateaus(recipe) == recipe
    assert localization_rate(10_000) == stage.learning_rate


def test_small_data_learn_boxes_at_a_larger_rate() -> None:
    """ILSVRC's 544,546 images with boxes at the paper's rate, Tiny-ImageNet-80's 28,000 at ten times that."""
    assert [localization_rate(images) for images in (20, 28_000, 544_546, 1_281_167)] == [1e-2, 1e-2, 1e-3, 1e-3]


shares = st.lists(st.floats(0, 1), max_size=3).map(lambda values: tuple(sorted(values)))
stages = st.builds(
    Stage,
    scale=st.tuples(st.integers(224, 600), st.integers(224, 600)).map(lambda pair: TrainScale(*sorted(pair))),
    dropout=st.floats(0, 0.9),
    epochs=st.integers(1, 100),
    learning_rate=st.floats(1e-6, 1),
    milestones=st.none() | shares,
)
recipes = st.builds(
    Recipe,
    stages=st.lists(stages, min_size=1, max_size=4).map(tuple),
    batch_size=st.integers(1, 512),
    color_shift=st.sampled_from(["std", "eigenvalue", "none"]),
    initialization=st.sampled_from(["glorot", "normal"]),
    min_gain=st.floats(0, 1),
)


@given(recipes)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert msgspec.convert(json.loads(json.dumps(asdict(recipe))), Recipe) == recipe


@pytest.mark.parametrize(
    ("images", "batch"),
    [(1_281_167, 256), (5120, 256), (5119, 255), (1000, 50), (170, 8), (100, 8), (24, 8), (8, 8), (3, 3)],
)
def test_the_batch_scales_with_the_data(images: int, batch: int) -> None:
    """A 20th, at least 8 or all, at most 256 (docs/choices.md)."""
    assert batch_size_for(images) == batch


def test_a_smaller_batch_is_not_enlarged() -> None:
    assert batch_size_for(10_000, largest=RECIPES["generated"].batch_size) == 32


def test_a_smaller_batch_has_a_lower_rate() -> None:
    """Times sqrt(batch / 256): a quarter of the batch, half of the rate; never more than the paper's."""
    assert scale_rate(1e-2, 64) == pytest.approx(5e-3)
    assert scale_rate(1e-3, 16) == pytest.approx(2.5e-4)
    assert scale_rate(1e-2, 256) == scale_rate(1e-2, 1024) == 1e-2


@given(recipes, st.integers(1, 200))
def test_shortening_keeps_the_epochs_requested_and_their_shares(recipe: Recipe, epochs: int) -> None:
    shorten_text = shorten(recipe, epochs)
    assert shorten_text.epochs == epochs
    assert all(stage.epochs > 0 for stage in shorten_text.stages)
    if len(shorten_text.stages) == len(recipe.stages):
        for before, after in zip(recipe.stages, shorten_text.stages, strict=True):
            assert abs(after.epochs - epochs * before.epochs / recipe.epochs) <= 1
            assert (after.scale, after.dropout) == (before.scale, before.dropout)


@pytest.mark.parametrize("name", PAPERS)
def test_below_74_epochs_the_drops_are_milestones(name: str) -> None:
    recipe = RECIPES[name]
    assert shorten(recipe, 73).stages[0].milestones == (0.60, 0.80, 0.93)
    assert shorten(recipe, 15).stages[0].milestones == (0.60, 0.80, 0.93)
    assert shorten(recipe, 74) == recipe
    assert shorten(recipe, 100).stages[0].milestones is None


@given(recipes)
def test_without_validation_only_a_plateau_becomes_milestones(recipe: Recipe) -> None:
    """An explicit empty tuple, a rate that never drops, stays one."""
    for before, after in zip(recipe.stages, replace_plateaus(recipe).stages, strict=True):
        expected = (0.60, 0.80, 0.93) if before.milestones is None else before.milestones
        assert after == replace(before, milestones=expected)


def test_the_generated_sets_recipe_has_no_plateau() -> None:
    assert replace_plateaus(RECIPES["generated"]) == RECIPES["generated"]


def test_shortening_leaves_explicit_milestones() -> None:
    assert [stage.milestones for stage in shorten(RECIPES["generated"], 4).stages] == [(), (0.50, 0.84)]
    assert [stage.epochs for stage in shorten(RECIPES["generated"], 11).stages] in ([5, 6], [6, 5])


def test_options_change_what_they_name_and_nothing_else() -> None:
    recipe = RECIPES["generated"]
    assert with_options(recipe) == recipe
    changed = with_options(recipe, learning_rate=1e-3)
    assert [stage.learning_rate for stage in changed.stages] == [1e-3, 1e-3]
    assert [replace(stage, learning_rate=1e-2) for stage in changed.stages] == list(recipe.stages)
    assert [stage.dropout for stage in with_options(recipe, dropout=0.0).stages] == [0, 0]
    assert replace(with_options(recipe, dropout=0.3), stages=()) == replace(recipe, stages=())


@pytest.mark.parametrize("text", ["256", "384", "256-512", "320-400"])
def test_a_scale_is_the_last_stages(text: str) -> None:
    """A stage before it is fixed and no larger."""
    scale = TrainScale.parse(text)
    (stage,) = with_options(RECIPES["256"], scale=scale).stages
    assert stage.scale == scale
    first, last = with_options(RECIPES["generated"], scale=scale).stages
    assert last.scale == scale
    assert first.scale.smallest == first.scale.largest <= scale.smallest
    assert (first.dropout, last.dropout) == (0, 0.5)


@pytest.mark.parametrize("epochs", [10, None])
def test_dropout_may_come_later_and_the_rate_drops_where_it_did(epochs: int | None) -> None:
    (whole,) = with_options(RECIPES["256"], epochs=epochs).stages
    first, rest = with_options(RECIPES["256"], epochs=epochs, dropout_after=3).stages
    assert (first.dropout, first.epochs, first.milestones) == (0.0, 3, ())
    assert (rest.dropout, rest.epochs) == (whole.dropout, whole.epochs - 3)
    assert {first.scale, rest.scale} == {whole.scale} and first.learning_rate == rest.learning_rate
    if whole.milestones is None:
        assert rest.milestones is None
    else:
        assert rest.milestones is not None
        assert [3 + share * rest.epochs for share in rest.milestones] == pytest.approx(
            [share * whole.epochs for share in whole.milestones]
        )


@pytest.mark.parametrize("after", [6, 9, 10, 40])
def test_dropout_comes_before_the_rate_drops(after: int) -> None:
    limit = "the first drop" if after < 10 else "the end of the 10 epochs at train scale 256"
    with pytest.raises(OptionError, match=f"`dropout_after={after}` is not before {limit}"):
        with_options(RECIPES["256"], epochs=10, dropout_after=after)
