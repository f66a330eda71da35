import pytest

from tests.data.trees import put
from verydeep.data.layout import open_split, split_names
from verydeep.errors import VerydeepError


@pytest.fixture
def data(tmp_path):
    return put(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "val/cat/c.jpg", "val/dog/d.jpg")


@pytest.mark.parametrize("question", [split_names, lambda root: open_split(root, "val")])
def test_a_missing_folder_and_a_file_are_errors(data, question):
    with pytest.raises(VerydeepError, match=r"photos does not exist; give a folder"):
        question(data / "photos")
    with pytest.raises(VerydeepError, match=r"a\.jpg is a file; give the folder"):
        question(data / "train/cat/a.jpg")


@pytest.mark.parametrize("name", ["test", "all", "Train", ""])
def test_an_unknown_split_names_those_that_exist(data, name):
    with pytest.raises(VerydeepError, match=rf"no split '{name}'; choose one of train, val\."):
        open_split(data, name)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2, 20, float("nan")])
def test_a_fraction_that_is_none_is_an_error(data, fraction):
    with pytest.raises(VerydeepError, match="between 0 and 1"):
        open_split(data, "val", val_fraction=fraction)


@pytest.mark.parametrize(
    "tar", ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_img_test_v10102019.tar"]
)
def test_original_tars_are_recognized_and_the_command_is_named(data, tar):
    (data / tar).touch()
    with pytest.raises(VerydeepError, match="verydeep prepare ilsvrc"):
        open_split(data, "val")
