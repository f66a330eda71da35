import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.sets import ilsvrc_trees as trees
from verydeep.data.layout import open_split, split_names
from verydeep.data.pixels.decoding import decode, image_size
from verydeep.data.sets.imagenet import read_devkit, read_kaggle
from verydeep.data.sets.preparation import IlsvrcSource, count_images, describe_split, find_ilsvrc, prepare_ilsvrc
from verydeep.errors import VerydeepError

TRUTH = {name: wnid for wnid, names in trees.TRAIN.items() for name in names} | trees.VAL


def make_tars(folder: Path, **options) -> Path:
    pytest.importorskip("scipy", reason="meta.mat is written and read by scipy")
    return trees.make_tars(folder, **options)


def describe(source: IlsvrcSource, destination: Path, part: str) -> str:
    return describe_split(part, count_images(destination, part), source.expected_counts(part))


def prepare(source: Path, destination: Path) -> list[str]:
    """Prepare all of it; return the line about each split."""
    found = find_ilsvrc(source)
    for _ in prepare_ilsvrc(found, destination):
        pass
    return [describe(found, destination, part) for part in found.split_names]


@pytest.fixture(params=["tars", "kaggle", "kaggle as it lies"])
def ready(request, tmp_path) -> Path:
    """Each form as `open_split` can read it."""
    if request.param == "kaggle as it lies":
        return trees.make_kaggle(tmp_path / "source")
    make = make_tars if request.param == "tars" else trees.make_kaggle
    prepare(make(tmp_path / "source"), tmp_path / "ready")
    return tmp_path / "ready"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_label_is_the_place_of_its_wnid_in_the_sorted_wnids(ready):
    assert list(trees.CLASS_ORDER) != list(trees.DEVKIT_ORDER)
    assert split_names(ready) == ("train", "val", "test")
    for part, names in (("train", set(TRUTH) - set(trees.VAL)), ("val", set(trees.VAL))):
        split = open_split(ready, part)
        assert split.class_names == trees.CLASS_ORDER
        assert split.class_words == tuple(trees.WORDS[wnid] for wnid in trees.CLASS_ORDER)
        assert split.labels is not None
        labels = {Path(file).name: label for file, label in zip(split.files, split.labels, strict=True)}
        assert labels == {name: trees.CLASS_ORDER.index(TRUTH[name]) for name in names}


def test_every_image_is_the_one_of_its_name_whatever_its_defect(ready):
    """CMYK, PNG named JPEG, grayscale, corrupt EXIF, EXIF rotation: each keeps its color and its shape."""
    for part in split_names(ready):
        split = open_split(ready, part)
        for index, file in enumerate(split.files):
            pixels = np.asarray(decode(split.path(index), camera_rotation=split.camera_rotation)).astype(int)
            name = Path(file).name
            assert pixels.shape == (trees.HEIGHT, trees.WIDTH, 3), name
            assert np.abs(pixels - trees.color_of(name)).max() <= 8, name


def test_exif_rotation_is_not_applied(ready):
    split = open_split(ready, "val")
    row = next(i for i, file in enumerate(split.files) if file.endswith(trees.ROTATED_BY_EXIF))
    assert not split.camera_rotation
    assert image_size(split.path(row), camera_rotation=split.camera_rotation) == (trees.WIDTH, trees.HEIGHT)
    assert image_size(split.path(row), camera_rotation=True) == (trees.HEIGHT, trees.WIDTH)


def test_test_images_have_no_labels(ready):
    split = open_split(ready, "test")
    assert split.labels is None
    assert split.files == tuple(sorted(trees.TEST))
    assert split.class_names == trees.CLASS_ORDER


def test_the_annotations_are_as_defective_as_the_real_ones_and_left_alone(tmp_path):
    """The file name is %s, the class a name, boxes outside the image and from right to left, a float."""
    root = trees.make_kaggle(tmp_path)
    (path,) = (root / "ILSVRC/Annotations").rglob("ILSVRC2012_val_00000003.xml")
    annotation = ET.parse(path).getroot()
    assert annotation.findtext("filename") == "%s"
    assert annotation.findtext("object/name") == "Scottish_deerhound"
    assert float(annotation.findtext("object/bndbox/xmin", "")) > float(annotation.findtext("object/bndbox/xmax", ""))
    with_them = open_split(root, "val")
    for file in list((root / "ILSVRC/Annotations").rglob("*.xml")):
        file.unlink()
    assert open_split(root, "val").files == with_them.files
    # next to class folders, as torrents of the set have them
    prepare(root, tmp_path / "ready")
    (tmp_path / "ready/Annotations/n02119789").mkdir(parents=True)
    (tmp_path / "ready/val/n02119789/ILSVRC2012_val_00000002.xml").write_text(trees.ANNOTATION)
    assert len(open_split(tmp_path / "ready", "val")) == len(trees.VAL)


def test_a_part_of_the_validation_images_keeps_its_labels(tmp_path):
    source = make_tars(tmp_path / "source")
    some = ["ILSVRC2012_val_00000005.JPEG", "ILSVRC2012_val_00000003.JPEG"]
    tar = trees.tar_of((name, trees.image_bytes(name)) for name in some)
    (source / "ILSVRC2012_img_val.tar").write_bytes(tar)
    lines = prepare(source, tmp_path / "ready")
    split = open_split(tmp_path / "ready", "val")
    assert {Path(file).name: Path(file).parent.name for file in split.files} == {name: TRUTH[name] for name in some}
    assert split.labels is not None
    assert [split.class_names[label] for label in split.labels] == ["n01440764", "n02100735"]
    assert lines[1] == (
        "val: 2 images of 2 classes, incomplete: 4 images are missing in 2 classes (first n02119789: 0 of 2)"
    )


def test_counts_are_verified_for_each_class(tmp_path):
    source = make_tars(tmp_path / "source", test=False)
    assert prepare(source, tmp_path / "ready") == [
        "train: 11 images of 4 classes, complete",
        "val: 6 images of 4 classes, complete",
    ]
    (tmp_path / "ready/train/n02100735/n02100735_7.JPEG").unlink()
    assert describe(find_ilsvrc(source), tmp_path / "ready", "train") == (
        "train: 10 images of 4 classes, incomplete: 1 image is missing in 1 class (first n02100735: 1 of 2)"
    )


def test_kaggles_counts_come_from_its_list(tmp_path):
    source = trees.make_kaggle(tmp_path / "source")
    assert prepare(source, tmp_path / "ready")[0] == "train: 11 images of 4 classes, complete"
    assert read_kaggle(source).num_train_images == {wnid: len(names) for wnid, names in trees.TRAIN.items()}
    (source / "ILSVRC/ImageSets/CLS-LOC/train_cls.txt").unlink()
    line = describe(find_ilsvrc(source), tmp_path / "ready", "train")
    assert line == "train: 11 images of 4 classes (the number of the complete set is unknown)"


def test_kaggles_files_are_linked_and_where_that_fails_copied(tmp_path, monkeypatch):
    source = trees.make_kaggle(tmp_path / "source")
    prepare(source, tmp_path / "linked")
    file = "ILSVRC2012_val_00000001.JPEG"
    original = source / "ILSVRC/Data/CLS-LOC/val" / file
    assert (tmp_path / "linked/val/n03255030" / file).samefile(original)

    def refuse(*args, **options):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)  # a test cannot rely on a second file system
    prepare(source, tmp_path / "copied")
    assert snapshot(tmp_path / "copied") == snapshot(tmp_path / "linked")
    assert not (tmp_path / "copied/val/n03255030" / file).samefile(original)


@pytest.mark.parametrize("make", [make_tars, trees.make_kaggle])
def test_stopped_after_any_image_it_goes_on_and_leaves_nothing_half_written(tmp_path, make):
    source = find_ilsvrc(make(tmp_path / "source"))
    for _ in prepare_ilsvrc(source, tmp_path / "whole"):
        pass
    whole = snapshot(tmp_path / "whole")
    assert len(whole) == len(trees.NAMES) + 1
    for stop in (1, 2, 7, 13, 20):
        destination = tmp_path / f"stopped{stop}"
        steps = prepare_ilsvrc(source, destination)
        for _ in range(stop):
            next(steps)
        steps.close()
        there = snapshot(destination)
        assert there.items() <= whole.items()
        assert len(there) < len(whole)
        written = [path for path, step in _watch(prepare_ilsvrc(source, destination), destination)]
        assert snapshot(destination) == whole
        assert len(written) == len(whole) - len(there)


def test_a_destination_that_is_removed_ends_a_preparation_at_once(tmp_path: Path) -> None:
    source = find_ilsvrc(trees.make_kaggle(tmp_path / "source"))
    steps = prepare_ilsvrc(source, tmp_path / "ready")
    for _ in range(3):
        next(steps)
    shutil.rmtree(tmp_path / "ready")
    with pytest.raises(VerydeepError, match=r"ready/words\.txt was removed meanwhile: .* run the command again"):
        next(steps)


def _watch(steps, destination: Path):
    """Yield the files that each step wrote."""
    before = set(snapshot(destination))
    for step in steps:
        now = set(snapshot(destination))
        yield from ((path, step) for path in now - before)
        before = now


def test_a_hidden_piece_that_a_kill_leaves_is_no_image_and_is_replaced(tmp_path):
    source = find_ilsvrc(make_tars(tmp_path / "source"))
    list(prepare_ilsvrc(source, tmp_path / "ready"))
    folder = tmp_path / "ready/train/n01440764"
    piece = (folder / "n01440764_9.JPEG").rename(folder / ".n01440764_9.JPEG.partial")
    piece.write_bytes(piece.read_bytes()[:100])
    assert not any("n01440764_9" in file for file in open_split(tmp_path / "ready", "train").files)
    list(prepare_ilsvrc(source, tmp_path / "ready"))
    assert not list(folder.glob(".*"))
    assert (folder / "n01440764_9.JPEG").read_bytes() == trees.image_bytes("n01440764_9.JPEG")


def test_tars_of_complete_splits_are_not_read_again(tmp_path):
    source = find_ilsvrc(make_tars(tmp_path / "source", test=False))
    list(prepare_ilsvrc(source, tmp_path / "ready"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ready").rglob("*.JPEG")}

    for tar in source.tars.values():
        tar.write_bytes(b"no tar any more")
    steps = list(prepare_ilsvrc(source, tmp_path / "ready"))
    assert [(step.split, step.done, step.total) for step in steps] == [("train", 11, 11), ("val", 6, 6)]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_progress_counts_up_to_the_total(tmp_path):
    steps = list(prepare_ilsvrc(find_ilsvrc(make_tars(tmp_path / "source")), tmp_path / "ready"))
    assert [step.done for step in steps if step.split == "train"] == list(range(12))
    assert {step.total for step in steps if step.split == "train"} == {11}
    assert [step.done for step in steps if step.split == "val"] == list(range(7))


def test_names_inside_tars_are_not_trusted(tmp_path):
    source = make_tars(tmp_path / "a/source", test=False)
    image = trees.image_bytes("n01440764_1.JPEG")
    evil = ["../../../evil.JPEG", "/tmp/verydeep_evil/n01440764_1.JPEG", "n01440764/../../n01440764_1.JPEG"]
    evil += ["n02119789_1.JPEG", "n01440764_66.JPEG.exe", "..\\n01440764_1.JPEG", "n01440764_1.JPEG\n"]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as inner:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
            member = tarfile.TarInfo(f"n01440764_{ord(kind)}.JPEG")
            member.type, member.linkname = kind, "/etc/passwd"
            inner.addfile(member)
        for name in [*evil, "n01440764_1.JPEG"]:
            member = tarfile.TarInfo(name)
            member.size = len(image)
            inner.addfile(member, io.BytesIO(image))
    outer = [("n01440764.tar", stream.getvalue()), ("../n01440764.tar", stream.getvalue()), ("n09999999.tar", b"?")]
    (source / "ILSVRC2012_img_train.tar").write_bytes(trees.tar_of(outer))
    with tarfile.open(source / "ILSVRC2012_img_train.tar", mode="a") as archive:
        link = tarfile.TarInfo("n02100735.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "n01440764.tar"
        archive.addfile(link)
    val = [(f"../{next(iter(trees.VAL))}", image), ("ILSVRC2012_val_00000099.JPEG", image), ("/evil.JPEG", image)]
    (source / "ILSVRC2012_img_val.tar").write_bytes(trees.tar_of(val))
    before = snapshot(tmp_path)
    prepare(source, tmp_path / "a/b/ready")
    new = set(snapshot(tmp_path)) - set(before)
    assert new == {"a/b/ready/words.txt", "a/b/ready/train/n01440764/n01440764_1.JPEG"}
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert not Path("/tmp/verydeep_evil").exists()


@pytest.mark.parametrize("tar", ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"])
@pytest.mark.parametrize(
    "damage", ["cut in a file", "cut after a file", "cut in a header", "zeroed header", "empty", "text"]
)
def test_a_damaged_tar_is_one_sentence_that_names_it(tmp_path, tar, damage):
    source = make_tars(tmp_path / "source", test=False)
    data = bytearray((source / tar).read_bytes())
    with tarfile.open(source / tar) as archive:
        second, third = archive.getmembers()[1:3]
    if damage == "cut in a file":
        del data[second.offset_data + 300 :]
    elif damage == "cut after a file":
        del data[third.offset :]
    elif damage == "cut in a header":
        del data[third.offset + 100 :]
    elif damage == "zeroed header":
        data[third.offset : third.offset + 512] = b"\x55" * 512
    else:
        data = bytearray(b"" if damage == "empty" else b"<html>404</html>" * 99)
    (source / tar).write_bytes(data)
    with pytest.raises(VerydeepError, match=tar) as raised:
        prepare(source, tmp_path / "ready")
    assert "download it again" in str(raised.value)
    assert not list((tmp_path / "ready").rglob("*.partial"))


def test_a_damaged_tar_of_one_class_is_named(tmp_path):
    source = make_tars(tmp_path / "source", test=False)
    inner = trees.tar_of([("n01440764_1.JPEG", trees.image_bytes("n01440764_1.JPEG"))])
    outer = trees.tar_of([("n02100735.tar", inner), ("n01440764.tar", inner[:-10_000])])
    (source / "ILSVRC2012_img_train.tar").write_bytes(outer)
    with pytest.raises(VerydeepError, match=r"n01440764\.tar inside .*img_train\.tar is"):
        prepare(source, tmp_path / "ready")


@pytest.mark.parametrize("place", ["ILSVRC2012_devkit_t12/data", "data", "."])
def test_the_devkit_may_be_unpacked(tmp_path, place):
    source = make_tars(tmp_path)
    packed = read_devkit(source)
    (source / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    (source / place).mkdir(parents=True, exist_ok=True)
    (source / place / "meta.mat").write_bytes(trees.meta_mat())
    (source / place / "ILSVRC2012_validation_ground_truth.txt").write_bytes(trees.ground_truth())
    assert read_devkit(source) == packed
    assert packed.validation == trees.VAL
    assert list(packed.words.items()) == [(wnid, trees.WORDS[wnid]) for wnid in trees.CLASS_ORDER]
    assert packed.num_train_images == {wnid: len(names) for wnid, names in trees.TRAIN.items()}


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda devkit: devkit.unlink(), r"lacks the devkit"),
        (lambda devkit: devkit.write_bytes(devkit.read_bytes()[:300]), r"devkit_t12\.tar\.gz is damaged"),
        (lambda devkit: devkit.write_bytes(b"text"), r"devkit_t12\.tar\.gz is damaged"),
        (lambda devkit: devkit.write_bytes(gzip.compress(trees.tar_of([("readme", b"")]))), r"lacks meta\.mat or"),
    ],
)
def test_a_missing_or_damaged_devkit_is_an_error(tmp_path, break_it, sentence):
    source = make_tars(tmp_path)
    break_it(source / "ILSVRC2012_devkit_t12.tar.gz")
    with pytest.raises(VerydeepError, match=sentence):
        find_ilsvrc(source)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        (
            "ILSVRC2012_validation_ground_truth.txt",
            b"1\n2\n5\n",
            r"Line 3 of .*ground_truth\.txt in .* not the number of a class: '5'",
        ),
        ("ILSVRC2012_validation_ground_truth.txt", b"1\nfox\n", r"Line 2 of .*'fox'"),
        ("meta.mat", b"MATLAB?", r"meta\.mat in .* is not a MATLAB file"),
    ],
)
def test_a_damaged_list_of_the_devkit_is_an_error(tmp_path, file, content, sentence):
    make_tars(tmp_path)
    (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    (tmp_path / "meta.mat").write_bytes(trees.meta_mat())
    (tmp_path / "ILSVRC2012_validation_ground_truth.txt").write_bytes(trees.ground_truth())
    (tmp_path / file).write_bytes(content)
    with pytest.raises(VerydeepError, match=sentence):
        read_devkit(tmp_path)


def test_without_scipy_the_sentence_names_the_extra(tmp_path, monkeypatch):
    source = make_tars(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(VerydeepError, match=r"pip install 'verydeep\[ilsvrc\]'"):
        find_ilsvrc(source)


def test_scipy_is_imported_only_for_the_devkit(tmp_path):
    script = """
import sys
from pathlib import Path
from verydeep.data.layout import open_split
from verydeep.data.sets.preparation import find_ilsvrc, prepare_ilsvrc
source, ready = map(Path, sys.argv[1:])
list(prepare_ilsvrc(find_ilsvrc(source), ready))
open_split(ready, "train")
assert "scipy" not in sys.modules
"""
    source = trees.make_kaggle(tmp_path / "source")
    subprocess.run([sys.executable, "-c", script, source, tmp_path / "ready"], check=True)


def test_a_kaggle_tree_without_its_lists_is_an_error(tmp_path):
    root = trees.make_kaggle(tmp_path)
    solution = root / "LOC_val_solution.csv"
    lines = solution.read_text().splitlines()
    solution.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(VerydeepError, match=r"LOC_val_solution\.csv lacks the class of val/ILSVRC2012_val_00000003"):
        open_split(root, "val")
    solution.write_text("\n".join(lines) + "\nILSVRC2012_val_00000007\n")
    with pytest.raises(VerydeepError, match=r"LOC_val_solution\.csv has a line"):
        open_split(root, "val")
    solution.unlink()
    with pytest.raises(VerydeepError, match=r"LOC_val_solution\.csv is missing"):
        open_split(root, "val")
    (root / "LOC_synset_mapping.txt").unlink()
    with pytest.raises(VerydeepError, match=r"LOC_synset_mapping\.txt is missing"):
        open_split(root, "train")


def test_the_order_of_kaggles_mapping_does_not_matter(tmp_path):
    root = trees.make_kaggle(tmp_path)
    lines = (f"{wnid} {trees.WORDS[wnid]}\n" for wnid in trees.DEVKIT_ORDER)
    (root / "LOC_synset_mapping.txt").write_text("".join(lines))
    split = open_split(root, "train")
    assert split.class_names == trees.CLASS_ORDER
    assert split.class_words == tuple(trees.WORDS[wnid] for wnid in trees.CLASS_ORDER)


def test_a_folder_that_is_neither_is_an_error(tmp_path):
    with pytest.raises(VerydeepError, match=r"neither ILSVRC-2012's tars .* nor Kaggle's tree"):
        find_ilsvrc(tmp_path)


@pytest.mark.data
def test_the_real_devkit_and_100_real_photographs_get_their_labels(real_data, tmp_path):
    """Labels from an independent source (labels-caffe-order.txt), the classes from all 1000 training tars."""
    pytest.importorskip("scipy", reason="meta.mat is read by scipy")
    real = real_data / "ilsvrc"
    source = tmp_path / "source"
    source.mkdir()
    for name in ("meta.mat", "ILSVRC2012_validation_ground_truth.txt"):
        (source / name).write_bytes((real / name).read_bytes())
    (source / "ILSVRC2012_img_val.tar").write_bytes((real / "val-100.tar").read_bytes())
    caffe = [line.split(" ", 1) for line in (real / "synset_words.txt").read_text().splitlines()]
    file = io.BytesIO()
    Image.new("RGB", (5, 3)).save(file, "JPEG")
    inner = [(f"{wnid}.tar", trees.tar_of([(f"{wnid}_1.JPEG", file.getvalue())])) for wnid, _ in reversed(caffe)]
    (source / "ILSVRC2012_img_train.tar").write_bytes(trees.tar_of(inner))
    lines = prepare(source, tmp_path / "ready")
    assert lines[0].startswith(
        "train: 1,000 images of 1,000 classes, incomplete: 1,280,167 images are missing in 1,000 classes"
    )
    assert lines[1].startswith("val: 100 images of ")
    with tarfile.open(real / "val-100.tar") as archive:
        listed = archive.extractfile("labels-caffe-order.txt")
        assert listed is not None
        labels = dict(line.split() for line in listed.read().decode().splitlines())
    split = open_split(tmp_path / "ready", "val")
    assert [list(pair) for pair in zip(split.class_names, split.class_words, strict=True)] == caffe
    assert split.labels is not None
    prepared = {Path(name).name: str(label) for name, label in zip(split.files, split.labels, strict=True)}
    assert len(prepared) == 100
    assert prepared == labels
    for index in range(len(split)):
        assert decode(split.path(index), camera_rotation=False).size == (227, 227)


def test_links_and_sparse_files_in_a_tar_are_left_out(tmp_path):
    """A sparse member of a few bytes would become a gigabyte; a link could lead to any file."""
    source = make_tars(tmp_path / "source", test=False)
    images = [tarfile.TarInfo(f"ILSVRC2012_val_0000000{number}.JPEG") for number in (1, 2, 3, 4)]
    images[0].type, images[0].linkname = tarfile.SYMTYPE, "/etc/passwd"
    images[1].type, images[1].linkname = tarfile.LNKTYPE, "../../outside"
    images[2].pax_headers = {"GNU.sparse.size": str(1 << 30)}
    content = b"".join(image.tobuf(tarfile.PAX_FORMAT) for image in images) + bytes(1024)
    (source / "ILSVRC2012_img_val.tar").write_bytes(content)
    list(prepare_ilsvrc(find_ilsvrc(source), tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out/val").rglob("*.JPEG")] == ["ILSVRC2012_val_00000004.JPEG"]


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path):
    source = make_tars(tmp_path / "source", test=False)
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.words.txt.partial").symlink_to(tmp_path / "mine")
    list(prepare_ilsvrc(find_ilsvrc(source), tmp_path / "out"))
    assert (tmp_path / "mine").read_text() == "mine" and not (tmp_path / "out/words.txt").is_symlink()


@pytest.mark.parametrize("size", [1 << 33, 20_000_000])
def test_a_devkit_that_unpacks_to_too_much_is_refused(tmp_path, size):
    """Announced, or zeros of which gzip makes a few bytes."""
    member = tarfile.TarInfo("ILSVRC2012_devkit_t12/data/meta.mat")
    member.size = size
    content = member.tobuf(tarfile.GNU_FORMAT) + bytes(min(size, 20_000_000)) + bytes(1024)
    (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(gzip.compress(content))
    with pytest.raises(VerydeepError, match=r"unpacks to more than 16,777,216 bytes"):
        read_devkit(tmp_path)


def test_a_meta_mat_that_lies_is_refused_before_scipy_reads_it(tmp_path):
    """SciPy 1.17 ends the process on some of such files, and takes gigabytes on others."""
    content = trees.meta_mat()
    place = content.index(b"synsets") + 8
    (tmp_path / "meta.mat").write_bytes(content[:place] + b"\xff" * 64 + content[place + 64 :])
    (tmp_path / "ILSVRC2012_validation_ground_truth.txt").write_bytes(trees.ground_truth())
    with pytest.raises(VerydeepError, match=r"meta\.mat in .* is damaged or incomplete"):
        read_devkit(tmp_path)
