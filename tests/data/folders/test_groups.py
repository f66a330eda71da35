"""Groups of photographs: how they are named, and that no random split separates them."""

import os
import unicodedata
from pathlib import Path

import pytest

from tests.data.trees import put
from verydeep.data.folders.folder import open_folder
from verydeep.data.folders.groups import add_groups, name_groups, number_groups, resolve_group_by
from verydeep.data.split import Split
from verydeep.errors import DataError, OptionError

FILES = ("ant/a1/x.jpg", "ant/a1/y.jpg", "ant/b2/x.jpg", "bee/a1/z.jpg", "bee/x.jpg")
ROOT = Path("/photos")


def open_parts(root: Path, group_by: str, *, seed: int = 0, val_fraction: float = 0.2) -> list[Split]:
    """Open train and val of class folders."""
    return [
        open_folder(root, name, seed=seed, val_fraction=val_fraction, group_by=group_by) for name in ("train", "val")
    ]


def count_classes(split: Split) -> list[int]:
    assert split.labels is not None
    return [int((split.labels == label).sum()) for label in range(len(split.class_names))]


def test_parent_is_the_name_of_the_folder() -> None:
    """A plot has the same name in the folders of several classes."""
    assert name_groups(FILES, ROOT, "parent") == ("a1", "a1", "b2", "a1", "bee")
    assert name_groups(("x.jpg",), ROOT, "parent") == ("photos",)


def test_pattern_is_searched_in_the_path() -> None:
    assert name_groups(FILES[:4], ROOT, r"([a-z]\d)") == ("a1", "a1", "b2", "a1")
    names = name_groups(FILES[:4], ROOT, r"(\w+)/.(\d)")
    assert names[0] == names[1] and len(set(names)) == 3  # both parts count


def test_table_names_files_in_several_ways(tmp_path: Path) -> None:
    """By their paths below the folder of the split or of the data, below that of the CSV file, or from the root."""
    root = tmp_path / "photos" / "train"
    table = tmp_path / "lists" / "groups.csv"
    table.parent.mkdir()
    rows = [
        "./ant/a1/x.jpg, one",
        "train/ant/a1/y.jpg,one",
        "../photos/train/ant/b2/x.jpg,two",
        f"{root}/bee/a1/z.jpg,",
        "bee/x.jpg,",
        "elsewhere.jpg,three",
    ]
    table.write_text("\n".join(["path,group", *rows]), encoding="utf-8")
    names = name_groups(FILES, root, str(table))
    assert names[:3] == ("one", "one", "two")
    assert len(set(names)) == 4  # without a group, each photograph is one


def test_table_may_have_backslashes(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("path,group\nant\\x.jpg,one\na\\b.jpg,two\na/b.jpg,three\n", encoding="utf-8")
    assert name_groups(("ant/x.jpg", "a\\b.jpg", "a/b.jpg"), tmp_path, str(table)) == ("one", "two", "three")


def test_table_and_folder_may_store_accents_differently(tmp_path: Path) -> None:
    one, other = (unicodedata.normalize(form, "caf\xe9") for form in ("NFC", "NFD"))
    assert one != other
    table = tmp_path / "groups.csv"
    table.write_text(f"path,group\na/{one}.jpg,x\n", encoding="utf-8")
    assert name_groups((f"a/{other}.jpg",), tmp_path, str(table)) == ("x",)
    assert len(set(name_groups((f"{one}/1.jpg", f"{other}/2.jpg"), tmp_path, "parent"))) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["ant/a1/x.jpg,one"], "gives no group to 4 of 5 photographs, such as ant/a1/y.jpg: add lines"),
        (["ant/a1/x.jpg,one", "ant/a1/x.jpg,two"], "Line 3 of .* gives ant/a1/x.jpg a second group, 'two'"),
        (["ant/a1/x.jpg,one,two"], "Line 2 of .* has 3 fields"),
        (
            ["Ant/a1/X.JPG,one"],
            r"5 of 5 photographs, such as ant/a1/x.jpg: line 2 has 'Ant/a1/X.JPG', which differs in",
        ),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("\n".join(["path,group", *rows]), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        name_groups(FILES, tmp_path, str(table))


def test_what_names_no_groups_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"`group_by=plot\\d` has no part in parentheses: give `group_by=parent`"):
        resolve_group_by(r"plot\d")
    with pytest.raises(OptionError, match=r"`group_by=\(plot` is not a valid regular expression"):
        resolve_group_by("(plot")
    with pytest.raises(DataError, match=r"groups\.csv does not exist"):
        resolve_group_by("groups.csv")
    with pytest.raises(DataError, match=r"gives no group to 1 of 5 photographs, such as bee/x.jpg: correct the"):
        name_groups(FILES, ROOT, r"/(\w)\d/")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "groups.csv").write_text("path,group\n")
    assert resolve_group_by("groups.csv") == str(tmp_path / "groups.csv")
    assert (resolve_group_by("parent"), resolve_group_by(r"(plot\d+)")) == ("parent", r"(plot\d+)")


def test_order_of_groups_is_the_documented_hash() -> None:
    """The digests are those of coreutils' sha256sum: 0:a 9df3..., 0:b e021..., 0:c be08...."""
    assert number_groups(["a", "b", "c", "a"], 0).tolist() == [0, 2, 1, 0]
    undecodable = os.fsdecode(b"caf\xe9")
    assert number_groups([undecodable, undecodable], 0).tolist() == [0, 0]


@pytest.mark.parametrize("prefix", ["", "train/"])
@pytest.mark.parametrize("seed", range(4))
def test_no_individual_is_on_both_sides(tmp_path: Path, prefix: str, seed: int) -> None:
    """Ten individuals of each class, of 1 to 10 photographs: about a fifth is in val."""
    put(
        tmp_path,
        *(f"{prefix}{name}/{name}{i}/{j}.jpg" for name in ("ant", "bee") for i in range(10) for j in range(i + 1)),
    )
    train, val = open_parts(tmp_path, "parent", seed=seed)
    individuals = [{Path(file).parent for file in split.files} for split in (train, val)]
    assert not individuals[0] & individuals[1] and len(individuals[0] | individuals[1]) == 20
    assert all(10 <= count <= 16 for count in count_classes(val))
    assert [a + b for a, b in zip(count_classes(train), count_classes(val), strict=True)] == [55, 55]
    assert f"20% of each class in val (seed {seed}, grouped by parent)" in val.layout
    assert open_parts(tmp_path, "parent", seed=seed + 1)[1].files != val.files


def test_a_group_of_several_classes_is_on_one_side(tmp_path: Path) -> None:
    """Days on which several animals were seen."""
    put(tmp_path, *(f"{name}/day{day}-{i}.jpg" for name in ("ant", "bee") for day in range(9) for i in range(3)))
    for seed in range(6):
        train, val = open_parts(tmp_path, r"(day\d)", seed=seed)
        days = [{Path(file).name[:4] for file in split.files} for split in (train, val)]
        assert not days[0] & days[1] and len(days[1]) == 2
        assert count_classes(val) == [6, 6]


def test_one_large_group_is_trained_on(tmp_path: Path) -> None:
    """Of two groups with 90 and 10 photographs, the smaller is nearer to a fifth."""
    put(tmp_path, *(f"ant/{'big' if i < 90 else 'small'}/{i}.jpg" for i in range(100)), "bee/1/1.jpg", "bee/2/2.jpg")
    for seed in range(4):
        assert count_classes(open_parts(tmp_path, "parent", seed=seed)[1]) == [10, 1]


def test_names_in_other_case_are_two_groups_and_a_note_says_so(tmp_path: Path) -> None:
    """Else photographs of one fox would be on both sides, and the error too small."""
    names = ["Fox1", "fox1", "fox2", "fox3", "Fox3", ""]
    files = [f"{name}/{number}.jpg" for name in ("ant", "bee") for number in range(len(names))]
    put(tmp_path / "photos", *files)
    table = tmp_path / "groups.csv"
    rows = [f"{file},{names[number % len(names)]}" for number, file in enumerate(files)]
    table.write_text("\n".join(["path,group", *rows]))
    note = (
        "Groups whose names differ only in case or spaces are two groups, such as 'Fox1' and 'fox1' (2 pairs): they "
        "may be on both sides."
    )
    for split in open_parts(tmp_path / "photos", str(table)):
        assert split.notes == (note,)
    assert add_groups(open_folder(tmp_path / "photos", "all", seed=0, val_fraction=0.2), str(table)).notes == (note,)
    table.write_text("\n".join(["path,group", *(row.replace("Fox", "owl") for row in rows)]))
    assert open_parts(tmp_path / "photos", str(table))[0].notes == ()


def test_class_of_one_group_is_trained_on_and_named(tmp_path: Path) -> None:
    put(tmp_path, "ant/a/1.jpg", "ant/a/2.jpg", "bee/b/3.jpg", "bee/c/4.jpg", "bee/a/5.jpg")
    note = (
        "There are too few groups for both train and val, so all groups of ant are in train: the folder that directly "
        "holds a photograph is its group."
    )
    for seed in range(6):
        train, val = open_parts(tmp_path, "parent", seed=seed)
        assert note in train.notes and note in val.notes
        assert count_classes(val) == [0, 1] and count_classes(train) == [2, 2]


def test_class_of_one_photograph_is_named(tmp_path: Path) -> None:
    put(tmp_path, "ant/1.jpg", "bee/3.jpg", "bee/4.jpg", "cow/5.jpg")
    split = open_folder(tmp_path, "train", seed=0, val_fraction=0.2)
    assert split.notes == (
        "There are too few photographs for both train and val, so all photographs of ant and cow are in train.",
    )
    assert open_folder(tmp_path, "all", seed=0, val_fraction=0.2).notes == ()
