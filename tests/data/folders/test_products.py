import json
from pathlib import Path

import pytest

from tests.data.trees import put
from verydeep.data.folders.products import describe_product
from verydeep.data.layout import open_split
from verydeep.data.transfer_sets import open_transfer_set
from verydeep.errors import DataError

KINDS = {
    "run.json": ("verydeep-run", "a run"),
    "config.json": ("verydeep", "a net"),
    "classifier.json": ("verydeep-classifier", "a classifier"),
    "manifest.json": ("verydeep-descriptors", "an archive"),
}


def write_product(folder: Path, file: str = "run.json", model_type: str = "verydeep-run") -> Path:
    folder.mkdir(parents=True)
    (folder / file).write_text(json.dumps({"model_type": model_type, "format": 1}, indent=1))
    return folder


@pytest.mark.parametrize("file", KINDS)
def test_what_verydeep_wrote_is_no_data_set(tmp_path: Path, file: str) -> None:
    model_type, kind = KINDS[file]
    folder = write_product(tmp_path / "runs" / "first", file, model_type)
    put(folder, "best/x.safetensors", "curves.png", "evaluations/val/classes/a.png")
    write_product(tmp_path / "runs" / "second")
    assert describe_product(folder) == f"is {kind} of verydeep"
    for read in (lambda root: open_split(root, "train"), open_transfer_set):
        with pytest.raises(DataError, match=f"first is {kind} of verydeep; give a folder of photographs"):
            read(folder)
        with pytest.raises(DataError, match=f"runs holds {kind} of verydeep"):
            read(tmp_path / "runs")


def test_files_of_others_with_these_names_are_no_product(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg")
    for number, file in enumerate(KINDS):
        (tmp_path / file).write_text(["", "{}", '{"model_type": "vgg"}', "no JSON"][number])
    assert describe_product(tmp_path) is None
    assert open_split(tmp_path, "all").class_names == ("cat", "dog")


def test_a_run_among_class_folders_is_no_class_and_is_never_to_be_removed(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg")
    put(write_product(tmp_path / "run"), "curves.png", "best/model.safetensors")
    put(write_product(tmp_path / "runs" / "a"), "curves.png")
    split = open_split(tmp_path, "all")
    assert split.class_names == ("cat", "dog") and len(split) == 4
    assert split.notes == (
        f"Not used, because it is a run of verydeep: {tmp_path / 'run'}.",
        f"Not used, because it holds a run of verydeep: {tmp_path / 'runs'}.",
    )
