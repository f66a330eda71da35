"""Single pictures of the generated set: their boxes, and what does and does not tell the classes apart."""

from colorsys import rgb_to_hsv

import numpy as np
import pytest
from PIL import Image

from verydeep.data.sets import outlines as drawing
from verydeep.data.sets.outlines import CLASS_NAMES, render


@pytest.fixture(scope="module")
def pictures():
    return [render(5, "train", index) for index in range(900)]


def test_seed_split_and_index_each_change_the_picture():
    drawn = [render(*key).pixels for key in ((0, "train", 4), (1, "train", 4), (0, "val", 4), (0, "train", 14))]
    assert len({pixels.tobytes() for pixels in drawn}) == 4
    assert np.array_equal(render(0, "train", 4).pixels, drawn[0])


def test_boxes_are_those_of_the_masks_and_wholly_inside(pictures):
    for picture in pictures:
        ys, xs = np.nonzero(picture.mask)
        assert picture.box == (xs.min(), ys.min(), xs.max(), ys.max())
        assert picture.pixels.shape == (*picture.mask.shape, 3)
        # The box was found before the object was put into the picture: had the border cut it, they would differ.


def test_the_mask_is_where_the_object_is_seen(pictures):
    """Shifted by two pixels in any direction, the mask fits the brighter region of the picture less well."""
    fits = {shift: [] for shift in ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))}
    for picture in pictures[:300]:
        brightness = picture.pixels.mean(axis=2)
        for shift, fit in fits.items():
            mask = np.roll(picture.mask, shift, axis=(0, 1))
            fit.append(brightness[mask].mean() - brightness[~mask].mean())
    here = np.array(fits.pop((0, 0)))
    assert (here > 40).all()  # brighter than the background, each of them
    for fit in fits.values():
        assert (here > fit).mean() > 0.97


def test_shapes_are_rectangular_and_differ(pictures):
    shapes = np.array([picture.mask.shape for picture in pictures])
    assert 0.45 < (shapes[:, 0] > shapes[:, 1]).mean() < 0.55
    assert (shapes[:, 0] != shapes[:, 1]).all()
    assert len({tuple(shape) for shape in shapes.tolist()}) > 400
    assert np.abs(np.median(shapes.min(axis=1)) - 112) < 3
    assert np.abs(np.median(shapes.max(axis=1)) - 144) < 4


def test_sizes_are_log_uniform_whatever_the_class(pictures):
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with verydeep[test]")
    boxes = np.array([picture.box for picture in pictures])
    longer = (boxes[:, 2:] - boxes[:, :2] + 1).max(axis=1)
    share = longer / [min(picture.mask.shape) for picture in pictures]
    assert share.min() >= 0.15
    assert share.max() <= 0.60
    uniform = np.log(share / 0.15) / np.log(4)
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    labels = np.array([picture.label for picture in pictures])
    assert stats.kruskal(*(uniform[labels == k] for k in range(10))).pvalue > 1e-3


def test_hue_says_nothing_about_the_class(pictures):
    """Neither the object's hue nor the background's: no dependence on the class in either."""
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with verydeep[test]")
    labels = np.array([picture.label for picture in pictures])
    for inside in (True, False):
        colors = [p.pixels[p.mask == inside].mean(axis=0) / 255 for p in pictures]
        sixth = np.array([int(6 * rgb_to_hsv(*color)[0]) % 6 for color in colors])
        table = np.zeros((10, 6), int)
        np.add.at(table, (labels, sixth), 1)
        assert (table.sum(axis=0) > 60).all()  # every hue occurs
        assert stats.chi2_contingency(table).pvalue > 1e-3


def test_outlines_differ_also_when_flipped():
    """The flips of training turn no class into another: best overlap with any other class's mirror image."""
    outlines = []
    for points in (drawing._OUTLINES[name] for name in CLASS_NAMES):
        low, high = points[0].min(axis=0), points[0].max(axis=0)
        scaled = [60 * (polygon - low) / (high - low) + 2 for polygon in points]
        outlines.append(drawing._rasterize(scaled)[:64, :64] >= 0.5)
    for i, one in enumerate(outlines):
        for other in outlines[:i] + outlines[i + 1 :]:
            assert (one & other[:, ::-1]).sum() / (one | other[:, ::-1]).sum() < 0.95


def test_nearest_thumbnails_do_not_tell_the_classes(pictures):
    """k-NN on 8x8 thumbnails, in color and in standardized gray, errs on at least 70% of the test images."""
    neighbors = pytest.importorskip("sklearn.neighbors", reason="scikit-learn comes with verydeep[test]")

    def thumbnails(drawn):
        small = [Image.fromarray(p.pixels).resize((8, 8), Image.Resampling.BOX) for p in drawn]
        color = np.stack([np.asarray(image, float) for image in small]).reshape(len(drawn), -1)
        gray = color.reshape(len(drawn), 64, 3).mean(axis=2)
        standardized = (gray - gray.mean(axis=1, keepdims=True)) / gray.std(axis=1, keepdims=True)
        return color, standardized, np.array([p.label for p in drawn])

    *train, labels = thumbnails(pictures)
    *test, truth = thumbnails([render(5, "test", index) for index in range(500)])
    for train_images, test_images in zip(train, test, strict=True):
        for k in (1, 5):
            nearest = neighbors.KNeighborsClassifier(n_neighbors=k).fit(train_images, labels)
            assert (nearest.predict(test_images) != truth).mean() >= 0.70
