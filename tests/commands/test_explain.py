"""``verydeep explain``: class score maps, the windows behind them, margins of a classifier, and pictures."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import verydeep as vd
from tests.conftest import picture
from tests.runs import Cli
from tests.thin_nets import make_pictures, save_box_run, save_model
from verydeep.configs.protocols import PaperNet
from verydeep.ops.arrays import UInt8Array

FP32: dict[str, Any] = {"precision": "fp32", "workers": 0, "progress": False}
SCALES = (256, 512)


def explain(*arguments: Any, **options: Any) -> vd.Explanations:
    return vd.explain(*arguments, **{"out": None, **FP32, **options})


@pytest.fixture(scope="module")
def net(trained: Path) -> vd.Net:
    net = vd.load(trained)
    assert isinstance(net, vd.Net)
    return net


@pytest.fixture(scope="module")
def photos() -> list[UInt8Array]:
    return [picture(131, 190, seed=1), picture(90, 75, seed=2)]


def test_the_maps_give_the_probabilities_of_predict(net: vd.Net, photos: list[UInt8Array]) -> None:
    explanations = explain(net, photos, scales=SCALES, top=2)
    predictions = vd.predict(net, photos, scales=SCALES, **FP32)
    np.testing.assert_allclose(explanations.scores, predictions.scores, atol=1e-6)
    assert [[explanations.class_names[k] for k in row] for row in explanations.labels.tolist()] == [
        [each.name for each in row] for row in predictions.top(2)
    ]
    mirrored = explain(net, [photo[:, ::-1] for photo in photos], scales=SCALES)
    for row in range(2):
        views = [each.scores.mean(axis=(1, 2)) for each in (*explanations.maps[row], *mirrored.maps[row])]
        shares = [np.exp(view) / np.exp(view).sum() for view in views]
        np.testing.assert_allclose(np.mean(shares, axis=0), predictions.scores[row], atol=1e-6)


@torch.inference_mode()
def test_a_position_scores_its_window_and_what_the_convolutions_see_around_it(net: vd.Net) -> None:
    """Net A's convolutions see 59 pixels beyond a window; so 64 pixels around it and nothing else give its scores."""
    photo = picture(300, 365, seed=3)
    (score_map,) = explain(net, photo, scales=2100).maps[0]  # 300 pixels at crop 32: the photograph as it is
    assert score_map.size == score_map.photograph_size == (300, 365) and score_map.scores.shape == (3, 10, 12)
    pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float()
    for row, column in ((2, 2), (3, 7), (5, 4)):
        left, upper, right, lower = score_map.windows[row, column].astype(int)
        assert (right - left, lower - upper) == (32, 32)
        cut = pixels[:, :, upper - 64 : lower + 64, left - 64 : right + 64]
        np.testing.assert_allclose(score_map.scores[:, row, column], net.model(cut)[0, :, 2, 2], atol=1e-4)
        assert np.abs(score_map.scores[:, row, column] - net.model(cut)[0, :, 1, 2].numpy()).max() > 1e-3


@pytest.fixture(scope="module")
def color_net(tmp_path_factory: pytest.TempPathFactory) -> vd.Net:
    """A net whose three classes are how red, green and blue a window is: the mean of the maxima of its 32x32 blocks."""
    names = ("red", "green", "blue")
    config = vd.ModelConfig("A", names, names, crop=64, width=1 / 16, fc_width=3, mean_rgb=(0, 0, 0), train_scale="256")
    model = config.build().eval()
    with torch.no_grad():
        for name, layer in model.weight_layers().items():
            middle = layer.kernel_size[0] // 2 if name.startswith("conv") else slice(None)
            layer.weight.zero_()
            layer.bias.zero_()  # type: ignore[union-attr]
            for color in range(3):
                layer.weight[color, color, middle, middle] = 0.25 if name == "fc6" else 1
        model.fc8.weight /= 20
    save_model(model, config, tmp_path_factory.mktemp("color") / "run")
    net = vd.load(tmp_path_factory.getbasetemp() / "color0" / "run")
    assert isinstance(net, vd.Net)
    return net


def test_an_object_pasted_at_one_place_moves_the_maximum_there(color_net: vd.Net) -> None:
    """Every number of the map is that of the definition of this net, which numpy computes."""
    for x, y in ((10, 20), (200, 15), (30, 165), (215, 160)):
        photo = np.full((256, 330, 3), (90, 30, 20), np.uint8)
        photo[y : y + 80, x : x + 80] = (20, 30, 200)
        (score_map,) = explain(color_net, photo, scales=896).maps[0]  # 256 pixels at crop 64: the photograph as it is
        blocks = np.zeros((8, 11, 3))
        for row, column in np.ndindex(8, 11):
            blocks[row, column] = photo[32 * row : 32 * row + 32, 32 * column : 32 * column + 32].max(axis=(0, 1))
        expected = (blocks[:-1, :-1] + blocks[1:, :-1] + blocks[:-1, 1:] + blocks[1:, 1:]) / 4 / 20
        np.testing.assert_allclose(score_map.scores, expected.transpose(2, 0, 1), rtol=1e-5)
        left, upper, right, lower = score_map.windows[score_map.strongest(2)]
        assert x < (left + right) / 2 < x + 80 and y < (upper + lower) / 2 < y + 80
        spread, inside = score_map.spread(2), np.zeros((256, 330), bool)
        inside[y : y + 80, x : x + 80] = True
        assert spread[inside].mean() > 3 * spread[~inside].mean()
        assert score_map.values[2].max() > 0.9 and score_map.values[2].min() < 0.1


def test_a_point_chooses_the_position_whose_window_is_centered_nearest(net: vd.Net) -> None:
    photo = picture(150, 200, seed=5)
    explanations = explain(net, photo, scales=512, point=(160, 20), top=3)
    (score_map,) = explanations.maps[0]
    height, width = score_map.size
    assert (height, width) == (73, 97) and score_map.scores.shape == (3, 3, 4)
    centers = [(16 + 32 * j) * 200 / 97 for j in range(4)], [(16 + 32 * i) * 150 / 73 for i in range(3)]
    nearest = [int(np.abs(np.array(places) - at).argmin()) for places, at in zip(centers, (160, 20), strict=True)]
    assert {(record["column"], record["row"]) for record in explanations.records()} == {tuple(nearest)}
    for record in explanations.records():
        edges = [record[side] for side in ("left", "upper", "right", "lower")]
        np.testing.assert_allclose((edges[0] + edges[2]) / 2, centers[0][nearest[0]])
        np.testing.assert_allclose((edges[1] + edges[3]) / 2, centers[1][nearest[1]])


@pytest.mark.parametrize(
    ("aggregate", "layer", "num_nets"),
    [("average", None, 1), ("stack", None, 1), ("max", "conv5_2", 1), ("stack", "pool5", 2), ("average", None, 2)],
)
def test_the_mean_of_the_maps_of_a_classifier_is_its_margin(
    aggregate: Any, layer: str | None, num_nets: int, trained: Path, photographs: Path, tmp_path: Path
) -> None:
    photos = [picture(131, 190, seed=1), picture(90, 75, seed=2)]
    options: dict[str, Any] = {"scales": (256, 384), "aggregate": aggregate, "layer": layer, "c": 1}
    made = vd.transfer(photographs, [trained] * num_nets, out=tmp_path / "few", **options, **FP32)
    margins = vd.predict(made, photos, **FP32).scores
    explanations, mirrored = (explain(made, images) for images in (photos, [photo[:, ::-1] for photo in photos]))
    assert explanations.kind == "margin"
    np.testing.assert_allclose(explanations.scores, margins, atol=1e-5)
    stride, window = {None: (32, 32), "pool5": (32, 32), "conv5_2": (16, 16)}[layer]
    for row in range(2):
        maps = [*explanations.maps[row], *mirrored.maps[row]]
        assert len(maps) == 2 * 2 * num_nets
        assert {(each.stride, each.window) for each in maps} == {(stride, window)}
        np.testing.assert_allclose(
            np.mean([each.scores.mean(axis=(1, 2)) for each in maps], axis=0), margins[row], atol=1e-4
        )
        assert all(np.array_equal(each.values, each.scores) and each.scores.std() > 1e-3 for each in maps)


def test_one_picture_for_each_photograph_and_one_of_the_filters(trained: Path, inside: Cli, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    rotated = Image.fromarray(picture(90, 131, seed=7))
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated.save(tmp_path / "photos" / "a.jpg", exif=exif)
    Image.fromarray(picture(60, 250, seed=8)).save(tmp_path / "photos" / "b.png")
    (tmp_path / "photos" / "c.jpg").write_bytes(b"no image")
    done = inside("explain", trained, "photos", "--scales", "256,384", "--top", 2, "--workers", 0, check=False)
    assert done.returncode == 1 and "1 of 3 images has no result: photos/c.jpg" in done.stderr
    assert "Pictures written: 3, in explanations/" in done.stdout
    names = sorted(path.name for path in (tmp_path / "explanations").iterdir())
    assert names == ["a-map.jpg", "b-map.jpg", "filters.png"]
    for name in names:
        with Image.open(tmp_path / "explanations" / name) as drawn:
            assert len(drawn.convert("RGB").getcolors(1 << 22)) > 20
    done = inside(
        "explain", trained, "photos/a.jpg", "photos/b.png", "--format", "csv", "--scales", 256, "--workers", 0
    )
    records = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(record["image"], record["rank"]) for record in records[:4]] == [
        *(("photos/a.jpg", f"{rank}") for rank in (1, 2, 3)), ("photos/b.png", "1")
    ]  # fmt: skip
    (rotated_map,) = vd.explain(trained, tmp_path / "photos" / "a.jpg", scales=256, out=None, **FP32).maps[0]
    assert rotated_map.photograph_size == (131, 90)


def test_a_notebook_shows_the_pictures(net: vd.Net, photos: list[UInt8Array], tmp_path: Path) -> None:
    shown = explain(net, photos, out=tmp_path / "drawn", top=1, scales=256)
    assert shown.pictures[-1] == (tmp_path / "drawn" / "filters.png").as_posix()
    assert shown._repr_html_().count("<img alt=") == 3 and shown._repr_html_().count("data:image/jpeg;base64,") == 2
    assert shown.filters.shape == (4, 3, 3, 3) and json.dumps(shown.as_dict())
    assert explain(net, photos, scales=256)._repr_html_().count("<img") == 0


def test_boxes_are_those_of_localize(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    make_pictures(tmp_path / "data", 4)
    run = save_box_run(tmp_path / "runs", PaperNet.parse("D/256pcr"), tmp_path / "data")
    photo = picture(90, 131, seed=50)
    explanations = explain(tmp_path / "runs" / "D-256-s0", photo, box=run, out=tmp_path / "drawn")
    objects = vd.localize(run, photo, **FP32)
    assert explanations.boxes is not None and np.array_equal(explanations.boxes.boxes, objects.boxes)
    plain = explain(tmp_path / "runs" / "D-256-s0", photo, out=tmp_path / "plain")
    with Image.open(explanations.pictures[0]) as boxed, Image.open(plain.pictures[0]) as bare:
        assert boxed.size == bare.size and boxed.tobytes() != bare.tobytes()
    with pytest.raises(vd.OptionError, match="predicts boxes"):
        explain(run, photo)
    with pytest.raises(vd.WeightsError, match="predicts classes, not boxes"):
        explain(tmp_path / "runs" / "D-256-s0", photo, box=tmp_path / "runs" / "D-256-s0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"point": "5"}, "`point=5` is not a pixel"),
        ({"point": (3, -1)}, "`point=3,-1` is not a pixel"),
        ({"point": "a,b"}, "`point=a,b` is not a pixel"),
        ({"point": "inf,1"}, "is not a pixel"),
        ({"top": 0}, "`top=0` is out of range"),
        ({"scales": 200}, "`scales=200` is wrong: whatever the net's crop"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str, net: vd.Net, photos: list[UInt8Array]) -> None:
    with pytest.raises(vd.OptionError, match=message):
        explain(net, photos, **options)


def test_a_point_lies_inside_of_all_photographs(net: vd.Net, tmp_path: Path) -> None:
    explain(net, [picture(150, 200, seed=5)], point=(199, 149))
    Image.fromarray(picture(120, 210, seed=6)).save(tmp_path / "low.png")
    with pytest.raises(vd.OptionError, match=r"`point=199,120` lies outside of .*low\.png, which has 210x120 pixels"):
        explain(net, [tmp_path / "low.png"], point=(199, 120), out=tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


def test_pictures_go_among_other_pictures_and_nothing_else(trained: Path, photographs: Path, tmp_path: Path) -> None:
    photo = next((photographs / "test").rglob("*.jpg"))
    for _ in range(2):
        explain(trained, photo, out=tmp_path / "maps", top=1, scales=256)
    (tmp_path / "maps" / "mine.jpg").write_bytes(photo.read_bytes())
    with pytest.raises(
        vd.OptionError, match="maps holds files that do not belong to pictures by verydeep: choose a new folder"
    ):
        explain(trained, photo, out=tmp_path / "maps", top=1, scales=256)


def test_a_photograph_of_the_name_of_the_filters_remains(trained: Path, tmp_path: Path) -> None:
    Image.fromarray(picture(60, 70, seed=9)).save(tmp_path / "filters.png")
    before = (tmp_path / "filters.png").read_bytes()
    explanations = explain(trained, tmp_path / "filters.png", out=tmp_path, scales=256)
    assert [Path(each).name for each in explanations.pictures] == ["filters-map.jpg", "filters-2.png"]
    assert (tmp_path / "filters.png").read_bytes() == before


def test_pictures_of_another_net_get_a_number(trained: Path, color_net: vd.Net, tmp_path: Path) -> None:
    Image.fromarray(picture(60, 70, seed=9)).save(tmp_path / "holiday.png")
    names, drawn = [], []
    for net in (trained, color_net, trained, color_net):
        shown = explain(net, tmp_path / "holiday.png", out=tmp_path / "maps", scales=896)
        names.append([Path(each).name for each in shown.pictures])
        drawn.append([Path(each).read_bytes() for each in shown.pictures])
    assert names == 2 * [["holiday-map.jpg", "filters.png"], ["holiday-map-2.jpg", "filters-2.png"]]
    assert drawn[:2] == drawn[2:] and len(list((tmp_path / "maps").iterdir())) == 4


def test_the_picture_names_the_net(color_net: vd.Net, tmp_path: Path) -> None:
    """A net of another name gives another title, and nothing else is different."""
    Image.fromarray(picture(60, 70, seed=9)).save(tmp_path / "holiday.png")
    drawn = []
    for name in ("first", "other"):
        (tmp_path / name).symlink_to(color_net.path)
        shown = explain(tmp_path / name, tmp_path / "holiday.png", out=tmp_path / f"maps-{name}", scales=896)
        with Image.open(shown.pictures[0]) as image:
            drawn.append(np.asarray(image.convert("L"), int))
    rows, columns = np.nonzero(np.abs(drawn[0] - drawn[1]) > 60)
    assert 16 <= rows.min() < rows.max() < 40 and columns.max() < drawn[0].shape[1] // 2


def test_pictures_do_not_go_among_the_photographs(trained: Path, photographs: Path) -> None:
    with pytest.raises(vd.OptionError, match="choose another `out`"):
        explain(trained, photographs / "test", out=photographs / "test")
