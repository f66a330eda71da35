"""ILSVRC-2012 as it is distributed: original tars with the devkit, and the Kaggle tree (docs/choices.md).

Classes are named and ordered by WNID, as in Caffe. The devkit's own numbers have another order; only files of the
devkit use them, and submissions to the test server (submission.py). The true class of ILSVRC2012_val_0000NNNN.JPEG is
line N of the devkit's list, so some of the images keep their labels without the others.
"""

import csv
import gzip
import io
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import numpy as np

from verydeep.data.folders.folder import WNID
from verydeep.data.folders.listing import list_images
from verydeep.data.split import Split
from verydeep.errors import DataError, ResourceError
from verydeep.mat_files import check_mat_file

DEVKIT = "ILSVRC2012_devkit_t12"
TARS = {
    "train": "ILSVRC2012_img_train.tar",
    "val": "ILSVRC2012_img_val.tar",
    "test": "ILSVRC2012_img_test*.tar",  # newer copies have a date in the name
}
KAGGLE_IMAGES = Path("ILSVRC/Data/CLS-LOC")
KAGGLE_ANNOTATIONS = Path("ILSVRC/Annotations/CLS-LOC")

BLACKLIST = "*clsloc_validation_blacklist.txt"

_META, _SYNSETS = "meta.mat", "synsets"
_GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_LARGEST_DEVKIT = 16 << 20
"""Bytes of the unpacked devkit, which has 5 MB."""
TAR_ERRORS = (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, OverflowError)
"""The errors of the standard library for a damaged tar."""


class Synset(NamedTuple):
    """A synset of the devkit's meta.mat."""

    number: int
    num_children: int
    wnid: str
    words: str
    num_train_images: int


@dataclass(frozen=True)
class Metadata:
    """Classes and labels from the devkit or Kaggle's lists, keyed by WNID."""

    words: dict[str, str]
    """WNID -> 'tench, Tinca tinca', in the order of the WNIDs."""
    num_train_images: dict[str, int]
    """WNID -> number of training images of the complete set; empty if unknown."""
    validation: dict[str, str]
    """'ILSVRC2012_val_00000001.JPEG' -> the WNID of its true class."""


def find_tars(root: Path) -> dict[str, Path]:
    """Return the original tars of train, val and test in ``root``, by split."""
    tars = {split: sorted(root.glob(pattern)) for split, pattern in TARS.items()}
    return {split: paths[-1] for split, paths in tars.items() if paths}


def is_kaggle(root: Path) -> bool:
    """Whether ``root`` is the unpacked download of Kaggle's ILSVRC."""
    return (root / KAGGLE_IMAGES).is_dir()


def kaggle_split_names(root: Path) -> tuple[str, ...]:
    """Return the splits among train, val and test that exist."""
    return tuple(name for name in ("train", "val", "test") if (root / KAGGLE_IMAGES / name).is_dir())


def open_kaggle(root: Path, name: str) -> Split:
    """Read train, val or test of the Kaggle tree.

    Raises:
        DataError: a list is missing or damaged, or lacks the class of an image.
    """
    metadata = read_kaggle(root)
    folder = root / KAGGLE_IMAGES / name
    files = list_images(folder)
    classes = tuple(metadata.words)
    labels = None
    if name != "test":
        label_of = {wnid: label for label, wnid in enumerate(classes)}
        wnids = [kaggle_class(metadata, root, name, file) for file in files]
        labels = np.array([label_of[wnid] for wnid in wnids], dtype=np.int64)
    return Split(
        name=name,
        root=folder,
        files=tuple(files),
        labels=labels,
        class_names=classes,
        class_words=tuple(metadata.words.values()),
        layout="ILSVRC-2012 as Kaggle's tree",
        camera_rotation=False,
    )


def kaggle_class(metadata: Metadata, root: Path, split: str, file: str) -> str:
    """Return the WNID of one image of train or val.

    Args:
        metadata: from ``read_kaggle``.
        root: of the Kaggle tree.
        split: train or val.
        file: path of the image below the folder of the split.

    Raises:
        DataError: the lists lack the image or its class.
    """
    if split == "train":
        wnid, list_name = file.split("/", maxsplit=1)[0], "LOC_synset_mapping.txt"
    else:
        wnid, list_name = metadata.validation.get(file, ""), "LOC_val_solution.csv"
    if wnid not in metadata.words:
        raise DataError(
            f"{root / list_name} lacks the class of {split}/{file}; remove the image, or get a complete list."
        )
    return wnid


def read_devkit(folder: Path) -> Metadata:
    """Read meta.mat and the true classes of the validation images, from the devkit's archive or unpacked.

    Raises:
        DataError: there is no devkit in ``folder``, or it is damaged.
        ResourceError: scipy is not installed.
    """
    where, meta, ground_truth = _devkit_files(folder)
    synsets = _load_synsets(meta, where)
    leaves = {synset.number: synset for synset in synsets if synset.num_children == 0}
    wnid_of = {number: synset.wnid for number, synset in leaves.items()}
    if not wnid_of or not all(WNID.fullmatch(wnid) for wnid in wnid_of.values()):
        raise DataError(f"{_META} in {where} does not list the classes of ILSVRC-2012; get the devkit again.")
    by_wnid = sorted(leaves.values(), key=lambda synset: synset.wnid)
    validation = {}
    for line, number in enumerate(ground_truth.split(), start=1):
        if not number.isdecimal() or len(number) > 9 or int(number) not in wnid_of:
            raise DataError(f"Line {line} of {_GROUND_TRUTH} in {where} is not the number of a class: {number!r}.")
        validation[f"ILSVRC2012_val_{line:08d}.JPEG"] = wnid_of[int(number)]
    return Metadata(
        words={synset.wnid: synset.words for synset in by_wnid},
        num_train_images={synset.wnid: synset.num_train_images for synset in by_wnid},
        validation=validation,
    )


def read_kaggle(root: Path) -> Metadata:
    """Read LOC_synset_mapping.txt, LOC_val_solution.csv and, to count images, ImageSets/CLS-LOC/train_cls.txt.

    Raises:
        DataError: one of the first two lists is missing or damaged.
    """
    mapping = root / "LOC_synset_mapping.txt"
    words = dict(sorted(line.partition(" ")[::2] for line in _lines(mapping)))
    if not words or not all(WNID.fullmatch(wnid) for wnid in words):
        raise DataError(f"{mapping} is not a list of 'WNID words'; unpack Kaggle's file again.")
    validation: dict[str, str] = {}
    if (root / KAGGLE_IMAGES / "val").is_dir():
        solution = root / "LOC_val_solution.csv"
        for row in list(csv.reader(_lines(solution)))[1:]:
            boxes = row[1].split() if len(row) == 2 else []
            if not boxes or boxes[0] not in words:
                raise DataError(f"{solution} has a line that is not 'ImageId,WNID box': {','.join(row)!r}.")
            validation[f"{row[0]}.JPEG"] = boxes[0]  # all boxes of an image are of its one class
    train_list = root / "ILSVRC/ImageSets/CLS-LOC/train_cls.txt"
    lines = _lines(train_list) if train_list.is_file() else []
    counts = Counter(line.split("/", maxsplit=1)[0] for line in lines)
    return Metadata(words, dict(counts), validation)


def read_localizations(path: Path) -> dict[str, list[tuple[int, list[str]]]]:
    """Read LOC_train_solution.csv or LOC_val_solution.csv: 'ImageId,PredictionString' with 'WNID x1 y1 x2 y2' per box.

    Returns:
        Image's name without suffix -> line number and fields (WNID, x1, y1, x2, y2) of each of its boxes, unchecked.

    Raises:
        DataError: the list cannot be read, or a line does not have two fields.
    """
    boxes: dict[str, list[tuple[int, list[str]]]] = {}
    for line, row in enumerate(csv.reader(_lines(path)), start=1):
        if len(row) != 2:
            raise DataError(f"Line {line} of {path} is not 'ImageId,WNID box': {','.join(row)!r}.")
        if line > 1:
            fields = row[1].split()
            boxes[row[0]] = [(line, fields[start : start + 5]) for start in range(0, len(fields), 5)]
    return boxes


def read_blacklist(root: Path) -> frozenset[int] | None:
    """Return the numbers of validation images, from 1, that the localization error leaves out; None without a list.

    The devkits of 2013 and 2014 list 1,762 images whose boxes are wrong.

    Raises:
        DataError: the list contains something that is not a number.
    """
    places = ("", "*/", "*/data/")  # the last in an unpacked devkit; not */*, where a million images lie
    paths = sorted(path for place in places for path in root.glob(f"{place}{BLACKLIST}"))
    if not paths:
        return None
    lines = paths[-1].read_text("utf-8", errors="replace").split()
    for line in lines:
        if not line.isdecimal() or len(line) > 9:
            raise DataError(f"{paths[-1]} contains {line!r:.80}, which is not the number of an image; restore it.")
    return frozenset(map(int, lines))


def validation_number(file: str) -> int | None:
    """Return 1 for 'ILSVRC2012_val_00000001.JPEG'; None for other images."""
    match = re.fullmatch(r"ILSVRC2012_val_(\d{8})", PurePosixPath(file).stem)
    return int(match[1]) if match else None


class _HonestFile(io.RawIOBase):
    """A file that refuses to read more than it has, instead of making room in memory for what a header announces."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size

    def read(self, size: int | None = -1) -> bytes:
        """Read; the archive is damaged if it announces more than there can be."""
        if size is not None and size > self._size:
            raise tarfile.ReadError("it declares more data than the file has")
        return self._file.read(-1 if size is None else size)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()


@contextmanager
def open_tar(stream: IO[bytes], name: str) -> Iterator[tarfile.TarFile]:
    """Open a tar that is not compressed; error messages call it ``name``.

    Raises:
        DataError: it is damaged, or no tar.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    try:
        archive = tarfile.open(fileobj=_HonestFile(stream, size), mode="r:")  # noqa: SIM115 - errors in opening alone
    except TAR_ERRORS as error:
        raise DataError(f"{name} is damaged, incomplete or not a tar file: download it again.") from error
    with archive:
        yield archive


def tar_members(archive: tarfile.TarFile, name: str) -> Iterator[tarfile.TarInfo]:
    """Yield the regular files of a tar in order; error messages call it ``name``.

    Links, devices and folders are left out, as are sparse files, of which a few bytes announce any size.

    Raises:
        DataError: the tar is damaged or ends early (the standard library mistakes most damage for the end).
    """
    damaged = f"{name} is damaged or incomplete; download it again."
    try:
        yield from (member for member in archive if member.isfile() and not member.issparse())
        assert archive.fileobj is not None
        archive.fileobj.seek(archive.offset)
        end = archive.fileobj.read(tarfile.BLOCKSIZE)
    except TAR_ERRORS as error:
        raise DataError(damaged) from error
    if end != bytes(tarfile.BLOCKSIZE):  # every tar ends with blocks of zeros
        raise DataError(damaged)


def _devkit_files(folder: Path) -> tuple[Path, io.BytesIO, str]:
    """Return the place of the devkit, and its two files."""
    archive = folder / f"{DEVKIT}.tar.gz"
    if archive.is_file():
        files = _read_from_tar(archive, f"{DEVKIT}/data/")
        if len(files) < 2:
            raise DataError(f"{archive} lacks {_META} or {_GROUND_TRUTH}; download it again.")
        return archive, io.BytesIO(files[_META]), files[_GROUND_TRUTH].decode("ascii", "replace")
    for place in (folder / DEVKIT / "data", folder / "data", folder):
        if (place / _META).is_file() and (place / _GROUND_TRUTH).is_file():
            ground_truth = (place / _GROUND_TRUTH).read_text("ascii", errors="replace")
            return place, io.BytesIO((place / _META).read_bytes()), ground_truth
    raise DataError(
        f"{folder} lacks the devkit, which lists the classes; put {archive.name} there, or its {_META} and "
        f"{_GROUND_TRUTH}."
    )


def _read_from_tar(path: Path, inside: str) -> dict[str, bytes]:
    """Return the devkit's two files, by name."""
    names = {inside + name: name for name in (_META, _GROUND_TRUTH)}
    files: dict[str, bytes] = {}
    try:
        with gzip.open(path) as file:
            content = file.read(_LARGEST_DEVKIT + 1)
        if len(content) > _LARGEST_DEVKIT:
            raise DataError(f"{path} unpacks to more than {_LARGEST_DEVKIT:,} bytes, unlike the devkit; get it again.")
        with open_tar(io.BytesIO(content), str(path)) as archive:
            for member in tar_members(archive, str(path)):
                stream = archive.extractfile(member)
                if stream is not None and member.name.removeprefix("./") in names:
                    files[names[member.name.removeprefix("./")]] = stream.read()
    except TAR_ERRORS as error:
        raise DataError(f"{path} is damaged or incomplete; download it again.") from error
    return files


def _load_synsets(meta: io.BytesIO, where: Path) -> list[Synset]:
    """Return the synsets."""
    try:
        from scipy.io import loadmat  # noqa: PLC0415 - an extra, needed only here
    except ImportError as error:
        raise ResourceError(
            f"{_META} of the ILSVRC devkit is a MATLAB file, which scipy reads; pip install 'verydeep[ilsvrc]'."
        ) from error
    names = check_mat_file(meta, f"{_META} in {where}", (_SYNSETS,), DataError)
    try:
        if _SYNSETS not in names:
            raise ValueError(f"it has no {_SYNSETS}")
        synsets = np.atleast_1d(loadmat(meta, squeeze_me=True, variable_names=(_SYNSETS,))[_SYNSETS])
        return [
            Synset(int(row["ILSVRC2012_ID"]), int(row["num_children"]), str(row["WNID"]), str(row["words"]),
                   int(row["num_train_images"])) for row in synsets
        ]  # fmt: skip
    except Exception as error:  # a file that differs raises nearly anything
        raise DataError(f"{_META} in {where} cannot be read ({error!s:.100}); get the devkit again.") from error


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"{path} is missing; unpack Kaggle's file again.")
    return path.read_text("utf-8", errors="replace").splitlines()
