import os
import sys
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from tests.data.trees import put
from verydeep.data.folders.listing import list_images
from verydeep.data.layout import open_split, split_names
from verydeep.errors import VerydeepError


def labelled(root: Path, name: str, **options) -> dict[str, str]:
    """File -> class name, whatever the order."""
    split = open_split(root, name, **options)
    assert split.labels is not None
    assert split.labels.dtype == np.int64
    assert list(split.files) == sorted(split.files)
    assert all(split.path(index).is_file() for index in range(len(split)))
    return {file: split.class_names[label] for file, label in zip(split.files, split.labels, strict=True)}


def flat(root: Path, **sizes: int) -> Path:
    return put(root, *(f"{name}/{index:03}.jpg" for name, size in sizes.items() for index in range(size)))


def test_train_and_val_with_class_folders(tmp_path):
    put(tmp_path, "train/dog/b.jpg", "train/cat/a.PNG", "train/cat/c.jpeg", "val/cat/d.webp", "val/dog/e.jpg")
    assert split_names(tmp_path) == ("train", "val")
    assert labelled(tmp_path, "train") == {"cat/a.PNG": "cat", "cat/c.jpeg": "cat", "dog/b.jpg": "dog"}
    assert labelled(tmp_path, "val") == {"cat/d.webp": "cat", "dog/e.jpg": "dog"}
    split = open_split(tmp_path, "val")
    assert split.class_names == split.class_words == ("cat", "dog")
    assert split.layout == "class folders with train/ and val/"
    assert split.root == tmp_path / "val"
    assert split.camera_rotation


def test_validation_is_another_name_of_val(tmp_path):
    put(tmp_path, "train/cat/a.jpg", "validation/cat/b.jpg", "test/cat/c.jpg")
    assert split_names(tmp_path) == ("train", "val", "test")
    assert open_split(tmp_path, "val").files == ("cat/b.jpg",)
    assert open_split(tmp_path, "val").layout == "class folders with train/, validation/ and test/"
    put(tmp_path, "val/cat/d.jpg")
    with pytest.raises(VerydeepError, match="both val/ and validation/"):
        open_split(tmp_path, "train")


def test_files_are_in_the_order_of_their_paths_and_labels_follow(tmp_path):
    put(tmp_path, "a/x.jpg", "a-b/x.jpg", "B/x.jpg", "a/.hidden/x.jpg")  # '-' is before '/', capitals before small
    split = open_split(tmp_path, "all")
    assert split.class_names == ("B", "a", "a-b")
    assert split.files == ("B/x.jpg", "a-b/x.jpg", "a/x.jpg")
    assert split.labels is not None
    assert split.labels.tolist() == [0, 2, 1]


def test_nested_files_are_found_and_strays_are_not(tmp_path):
    put(tmp_path, "cat/2024/may/a.jpg", "cat/b.jpg", "dog/c.JPEG", "dog/d.jpg")
    put(tmp_path, "cat/.c.jpg", "cat/notes.txt", "dog/Thumbs.db", "dog/.cache/x.jpg", ".git/x.jpg", "read.me", "e.jpg")
    assert open_split(tmp_path, "all").files == ("cat/2024/may/a.jpg", "cat/b.jpg", "dog/c.JPEG", "dog/d.jpg")
    assert open_split(tmp_path, "all").class_names == ("cat", "dog")


def test_links_to_folders_are_followed_but_never_in_circles(tmp_path):
    put(tmp_path / "elsewhere", "a.jpg", "deep/b.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/deep/back").symlink_to(tmp_path / "elsewhere")
    assert list_images(tmp_path / "data") == ["cat/a.jpg", "cat/deep/b.jpg"]


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_a_seeded_fraction_of_each_class_is_kept_for_val(tmp_path, prefix):
    put(tmp_path, *(f"{prefix}{name}/{i:03}.jpg" for name, n in {"a": 100, "b": 7, "c": 2}.items() for i in range(n)))
    assert split_names(tmp_path) == ("train", "val", "all")
    train, val = labelled(tmp_path, "train"), labelled(tmp_path, "val")
    assert train.keys().isdisjoint(val)
    assert {**train, **val} == labelled(tmp_path, "all")
    assert [list(val.values()).count(name) for name in "abc"] == [20, 1, 1]
    assert "20% of each class in val (seed 0)" in open_split(tmp_path, "val").layout
    assert "in val (" not in open_split(tmp_path, "all").layout
    half = labelled(tmp_path, "val", val_fraction=0.5)
    assert [list(half.values()).count(name) for name in "abc"] == [50, 4, 1]
    assert val.keys() < half.keys()


def test_a_class_of_one_image_is_trained_on(tmp_path):
    flat(tmp_path, lone=1, pair=2)
    assert "lone/000.jpg" in labelled(tmp_path, "train")
    assert list(labelled(tmp_path, "val").values()) == ["pair"]
    layout = open_split(tmp_path, "val").layout
    assert "val lacks" not in layout


def test_the_seed_decides_and_nothing_else_does(tmp_path, monkeypatch):
    flat(tmp_path, a=40, b=40)
    by_seed = [frozenset(labelled(tmp_path, "val", seed=seed)) for seed in (0, 1, 2**40, -1)]
    assert len(set(by_seed)) == 4
    assert by_seed[0] == frozenset(labelled(tmp_path, "val", seed=0))
    flat(tmp_path, c=9)  # another class leaves the first two alone
    assert {file for file in labelled(tmp_path, "val") if file[0] != "c"} == by_seed[0]
    scandir = os.scandir

    class Backwards:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            return None

    with_c = frozenset(labelled(tmp_path, "val"))
    monkeypatch.setattr(os, "scandir", Backwards)  # no file system lists in an order that a test can choose
    assert frozenset(labelled(tmp_path, "val")) == with_c


def test_a_flat_folder_may_have_a_class_called_train(tmp_path):
    flat(tmp_path, bus=3, train=3, car=3)
    assert split_names(tmp_path) == ("train", "val", "all")
    assert open_split(tmp_path, "all").class_names == ("bus", "car", "train")


def test_test_images_may_lie_without_class_folders(tmp_path):
    put(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "test/2.jpg", "test/1.jpg", "test/list.txt")
    split = open_split(tmp_path, "test")
    assert split_names(tmp_path) == ("train", "val", "test", "all")
    assert split.labels is None
    assert split.files == ("1.jpg", "2.jpg")
    assert split.class_names == ("cat", "dog")


def test_wnids_mean_no_camera_rotation_and_words_give_names(tmp_path):
    put(tmp_path, "train/n01440764/a.jpg", "train/n02119789/b.jpg", "val/n01440764/c.jpg", "val/n02119789/d.jpg")
    (tmp_path / "words.txt").write_text("n02119789\tkit fox, Vulpes macrotis\nn00001740\tentity\nno tab\n")
    split = open_split(tmp_path, "val")
    assert not split.camera_rotation
    assert split.class_words == ("n01440764", "kit fox, Vulpes macrotis")
    (tmp_path / "val/words.txt").write_text("n01440764\ttench\n")
    assert open_split(tmp_path, "val").class_words == ("tench", "n02119789")
    put(tmp_path, "train/my own cat/e.jpg")
    assert open_split(tmp_path, "val").camera_rotation


def test_val_may_lack_classes_and_says_so(tmp_path):
    put(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "val/c/2.jpg")
    split = open_split(tmp_path, "val")
    assert split.class_names == ("a", "b", "c")
    assert split.labels is not None
    assert split.labels.tolist() == [2]
    assert "val has 2 without images" in split.layout


def test_stray_folders_beside_the_parts_do_not_disturb(tmp_path):
    put(tmp_path, "train/a/1.jpg", "val/a/2.jpg", "Annotations/a/1.xml", "pictures/x.jpg")
    assert split_names(tmp_path) == ("train", "val")
    assert open_split(tmp_path, "train").class_names == ("a",)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["train/cat/a.jpg", "val/cat/b.jpg", "val/dgo/c.jpg"], r"val has class folders that training lacks: dgo"),
        (["cat/a.jpg", "dog/note.txt"], r"dog holds no images; fill or remove it"),
        (["train/cat/a.jpg", "val/cat/.hidden.jpg"], r"val holds no images"),
        (["a.jpg", "b.jpg"], r"holds images but no class folders"),
        (["note.txt"], r"holds no class folders"),
        (["train/a.jpg", "val/b.jpg"], r"train holds images but no class folders"),
        (["train/cat/a.jpg", "val/b.jpg"], r"val holds images but no class folders"),
    ],
)
def test_mistakes_are_reported_in_one_sentence(tmp_path, files, sentence):
    put(tmp_path, *files)
    with pytest.raises(VerydeepError, match=sentence) as raised:
        for name in split_names(tmp_path):
            open_split(tmp_path, name)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_are_not_opened(tmp_path):
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (3, 5)).save(tmp_path / "cat/real.jpg")
    put(tmp_path, "cat/empty.jpg")
    assert len(open_split(tmp_path, "all")) == 2


def test_empty_folders_are_no_classes_and_noted(tmp_path):
    put(tmp_path, "cat/a.jpg", "dog/b.jpg", "bird/.DS_Store", "fish/@eaDir/c.jpg")
    split = open_split(tmp_path, "all")
    assert split.class_names == ("cat", "dog")
    assert f"Not used, because they are empty: {tmp_path / 'bird'} and {tmp_path / 'fish'}." in split.notes


def test_images_next_to_class_folders_are_noted(tmp_path):
    put(tmp_path, "cat/a.jpg", "dog/b.jpg", "cover.png")
    (note,) = open_split(tmp_path, "all").notes
    assert note == f"Not used: 1 image that lies directly in {tmp_path} and not in a class folder (cover.png)."


def test_what_stops_a_training_is_only_noted_where_everything_is_verified(tmp_path):
    put(tmp_path, "train/cat/a.jpg", "train/dog/note.txt", "val/cat/b.jpg", "val/dgo/c.jpg")
    split = open_split(tmp_path, "val", strict=False)
    assert split.files == ("cat/b.jpg", "dgo/c.jpg")
    assert split.labels is not None and split.labels.tolist() == [0, -1]
    assert open_split(tmp_path, "train", strict=False).files == ("cat/a.jpg",)


def test_both_normal_forms_of_a_name_are_one_class(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    put(tmp_path, f"train/{composed}/{composed}.jpg", "train/tea/b.jpg", f"val/{decomposed}/c.jpg", "val/tea/d.jpg")
    assert open_split(tmp_path, "train").class_names == open_split(tmp_path, "val").class_names == (composed, "tea")
    assert labelled(tmp_path, "val") == {f"{decomposed}/c.jpg": composed, "tea/d.jpg": "tea"}


def test_the_seed_decides_alike_for_both_normal_forms(tmp_path):
    names = [f"{i:02}\u00e9.jpg" for i in range(40)]
    put(tmp_path / "one", *(f"{name}/{file}" for name in ("a", "b") for file in names))
    put(tmp_path / "other", *(f"{name}/{normalize('NFD', file)}" for name in ("a", "b") for file in names))
    one, other = (open_split(tmp_path / name, "val").files for name in ("one", "other"))
    assert len(one) == 16 and list(one) == [normalize("NFC", file) for file in other]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_two_class_folders_that_print_alike_are_one_class(tmp_path):
    put(tmp_path, "caf\u00e9/a.jpg", "cafe\u0301/b.jpg", "tea/c.jpg", "Tea/d.jpg")
    split = open_split(tmp_path, "all")
    assert split.class_names == ("Tea", "caf\u00e9", "tea")
    assert len(split) == 4
    assert any("differ only in how their accents are stored" in note for note in split.notes)
    assert any("Tea and tea" in note and "only in case" in note for note in split.notes)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_classes_of_bytes_that_are_no_text_have_a_name_that_can_be_written(tmp_path):
    put(tmp_path, "caf\udce9/\udcff.jpg", "a\nb/c.jpg")
    split = open_split(tmp_path, "all")
    assert split.class_names == (r"a\nb", r"caf\udce9")
    assert split.files == ("a\nb/c.jpg", "caf\udce9/\udcff.jpg")
    assert " ".join(split.class_names).encode()


def test_a_link_has_a_name_of_its_own(tmp_path):
    put(tmp_path / "elsewhere", "001/a.jpg", "b.jpg")
    put(tmp_path / "data", "dog/c.jpg")
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "elsewhere" / "001")
    (tmp_path / "data" / "dog" / "named.jpg").symlink_to(tmp_path / "elsewhere" / "b.jpg")
    assert labelled(tmp_path / "data", "all") == {"cat/a.jpg": "cat", "dog/c.jpg": "dog", "dog/named.jpg": "dog"}


def test_inner_folders_that_are_groups_need_no_note(tmp_path: Path) -> None:
    for name in ("cat/monday", "cat/friday", "dog/monday", "dog/friday"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.jpg").touch()
    notes = [open_split(tmp_path, "all", group_by=by).notes for by in (None, "parent")]
    assert any("If these are the classes" in note for note in notes[0]) and notes[1] == ()
