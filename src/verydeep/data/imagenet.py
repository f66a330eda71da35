"""ILSVRC-2012 as it is handed out: original tars with the devkit, and the Kaggle tree (docs/choices.md).

Classes are known by their WNID and ordered by it, as in Caffe; the devkit's own numbers have another order and are
used where files speak them: here, and in what goes to the test server (submission.py). The true class of
ILSVRC2012_val_0000NNNN.JPEG is line N of the devkit's list, so a part of the images keeps its labels.
"""

import csv
import io
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from verydeep.data.folder import WNID, list_images
from verydeep.data.split import Split
from verydeep.errors import VerydeepError

DEVKIT = "ILSVRC2012_devkit_t12"
TARS = {
    "train": "ILSVRC2012_img_train.tar",
    "val": "ILSVRC2012_img_val.tar",
    "test": "ILSVRC2012_img_test*.tar",  # newer copies have a date in the name
}
KAGGLE_IMAGES = Path("ILSVRC/Data/CLS-LOC")
KAGGLE_ANNOTATIONS = Path("ILSVRC/Annotations/CLS-LOC")

BLACKLIST = "*clsloc_validation_blacklist.txt"

_META = "meta.mat"
_GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


@dataclass(frozen=True)
class Metadata:
    """What the devkit or Kaggle's lists say about the images, keyed by WNID."""

    words: dict[str, str]
    """WNID -> 'tench, Tinca tinca', in the order of the WNIDs."""
    num_train_images: dict[str, int]
    """WNID -> how many training images there should be; empty where nothing says it."""
    validation: dict[str, str]
    """'ILSVRC2012_val_00000001.JPEG' -> the WNID of its true class."""


def find_tars(root: Path) -> dict[str, Path]:
    """The original tars of train, val and test that lie in ``root``."""
    found = {part: sorted(root.glob(pattern)) for part, pattern in TARS.items()}
    return {part: paths[-1] for part, paths in found.items() if paths}


def is_kaggle(root: Path) -> bool:
    """Whether ``root`` is the unpacked download of Kaggle's ILSVRC."""
    return (root / KAGGLE_IMAGES).is_dir()


def kaggle_split_names(root: Path) -> tuple[str, ...]:
    """Those of train, val and test that are there."""
    return tuple(name for name in ("train", "val", "test") if (root / KAGGLE_IMAGES / name).is_dir())


def open_kaggle(root: Path, name: str) -> Split:
    """Read train, val or test of the Kaggle tree as it lies.

    Raises:
        VerydeepError: a list is missing or damaged, or it does not know a class or an image that is there.
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


def kaggle_class(metadata: Metadata, root: Path, part: str, file: str) -> str:
    """The WNID of one image of train or val, ``file`` being its path below the part's folder.

    Raises:
        VerydeepError: the lists do not know the image or its class.
    """
    if part == "train":
        wnid, known_by = file.split("/", maxsplit=1)[0], "LOC_synset_mapping.txt"
    else:
        wnid, known_by = metadata.validation.get(file, ""), "LOC_val_solution.csv"
    if wnid not in metadata.words:
        raise VerydeepError(
            f"{root / known_by} does not know the class of {part}/{file}; remove it or get a complete list."
        )
    return wnid


def read_devkit(folder: Path) -> Metadata:
    """Read meta.mat and the true classes of the validation images, from the devkit's archive or unpacked.

    Raises:
        VerydeepError: no devkit in ``folder``, a damaged one, or scipy is not installed.
    """
    where, meta, ground_truth = _devkit_files(folder)
    synsets = _load_synsets(meta, where)
    leaves = {int(synset["ILSVRC2012_ID"]): synset for synset in synsets if int(synset["num_children"]) == 0}
    wnid_of = {number: str(synset["WNID"]) for number, synset in leaves.items()}
    if not wnid_of or not all(WNID.fullmatch(wnid) for wnid in wnid_of.values()):
        raise VerydeepError(f"{_META} in {where} does not list the classes of ILSVRC-2012; get the devkit again.")
    by_wnid = sorted(leaves.values(), key=lambda synset: str(synset["WNID"]))
    validation = {}
    for line, number in enumerate(ground_truth.split(), start=1):
        if not number.isdigit() or int(number) not in wnid_of:
            raise VerydeepError(f"Line {line} of {_GROUND_TRUTH} in {where} is no class's number: {number!r}.")
        validation[f"ILSVRC2012_val_{line:08d}.JPEG"] = wnid_of[int(number)]
    return Metadata(
        words={str(synset["WNID"]): str(synset["words"]) for synset in by_wnid},
        num_train_images={str(synset["WNID"]): int(synset["num_train_images"]) for synset in by_wnid},
        validation=validation,
    )


def read_kaggle(root: Path) -> Metadata:
    """Read LOC_synset_mapping.txt, LOC_val_solution.csv and, for the counts, ImageSets/CLS-LOC/train_cls.txt.

    Raises:
        VerydeepError: a list that is needed is missing or damaged.
    """
    mapping = root / "LOC_synset_mapping.txt"
    words = dict(sorted(line.partition(" ")[::2] for line in _lines(mapping)))
    if not words or not all(WNID.fullmatch(wnid) for wnid in words):
        raise VerydeepError(f"{mapping} is not a list of 'WNID words'; unpack Kaggle's archive again.")
    validation: dict[str, str] = {}
    if (root / KAGGLE_IMAGES / "val").is_dir():
        solution = root / "LOC_val_solution.csv"
        for row in list(csv.reader(_lines(solution)))[1:]:
            boxes = row[1].split() if len(row) == 2 else []
            if not boxes or boxes[0] not in words:
                raise VerydeepError(f"{solution} has a line that is not 'ImageId,WNID box': {','.join(row)!r}.")
            validation[f"{row[0]}.JPEG"] = boxes[0]  # all boxes of an image are of its one class
    listed = root / "ILSVRC/ImageSets/CLS-LOC/train_cls.txt"
    counts = Counter(line.split("/", maxsplit=1)[0] for line in _lines(listed)) if listed.is_file() else Counter()
    return Metadata(words, dict(counts), validation)


def read_localizations(path: Path) -> dict[str, list[tuple[int, list[str]]]]:
    """Read LOC_train_solution.csv or LOC_val_solution.csv: 'ImageId,PredictionString' with 'WNID x1 y1 x2 y2' per box.

    Returns:
        Image's name without suffix -> line number and fields (WNID, x1, y1, x2, y2) of each of its boxes; fields that
        lack some are handed on as they are.

    Raises:
        VerydeepError: the list cannot be read, or a line is not of two fields.
    """
    found: dict[str, list[tuple[int, list[str]]]] = {}
    for line, row in enumerate(csv.reader(_lines(path)), start=1):
        if len(row) != 2:
            raise VerydeepError(f"Line {line} of {path} is not 'ImageId,WNID box': {','.join(row)!r}.")
        if line > 1:
            fields = row[1].split()
            found[row[0]] = [(line, fields[start : start + 5]) for start in range(0, len(fields), 5)]
    return found


def read_blacklist(root: Path) -> frozenset[int] | None:
    """Which of the 50,000 validation images, counted from 1, the localization error leaves out; None: no list there.

    The list of 1,762 came with the devkits of 2013 and 2014, for their boxes of the same images are wrong.

    Raises:
        VerydeepError: it holds something else than numbers.
    """
    places = ("", "*/", "*/data/")  # the last in an unpacked devkit; not */*, where a million images lie
    paths = sorted(path for place in places for path in root.glob(f"{place}{BLACKLIST}"))
    if not paths:
        return None
    lines = paths[-1].read_text("utf-8", errors="replace").split()
    for line in lines:
        if not line.isdecimal():
            raise VerydeepError(f"{paths[-1]} holds {line!r}, which is not the number of an image: restore it.")
    return frozenset(map(int, lines))


def validation_number(file: str) -> int | None:
    """1 for 'ILSVRC2012_val_00000001.JPEG'; None for other images."""
    match = re.fullmatch(r"ILSVRC2012_val_(\d{8})", PurePosixPath(file).stem)
    return int(match[1]) if match else None


def members(archive: tarfile.TarFile, told: str) -> Iterator[tarfile.TarInfo]:
    """The members of a tar in their order; ``told`` is its name in sentences.

    Raises:
        VerydeepError: the tar is damaged or ends early (the standard library takes most damage for the end).
    """
    damaged = f"{told} is damaged or incomplete; download it again."
    try:
        yield from archive
        assert archive.fileobj is not None
        archive.fileobj.seek(archive.offset)
        end = archive.fileobj.read(tarfile.BLOCKSIZE)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise VerydeepError(damaged) from error
    if end != bytes(tarfile.BLOCKSIZE):  # every tar ends with blocks of zeros
        raise VerydeepError(damaged)


def _devkit_files(folder: Path) -> tuple[Path, io.BytesIO, str]:
    """Where the devkit was found, and its two files."""
    archive = folder / f"{DEVKIT}.tar.gz"
    if archive.is_file():
        held = _read_from_tar(archive, f"{DEVKIT}/data/")
        if len(held) < 2:
            raise VerydeepError(f"{archive} lacks {_META} or {_GROUND_TRUTH}; download it again.")
        return archive, io.BytesIO(held[_META]), held[_GROUND_TRUTH].decode("ascii", "replace")
    for place in (folder / DEVKIT / "data", folder / "data", folder):
        if (place / _META).is_file() and (place / _GROUND_TRUTH).is_file():
            ground_truth = (place / _GROUND_TRUTH).read_text("ascii", errors="replace")
            return place, io.BytesIO((place / _META).read_bytes()), ground_truth
    raise VerydeepError(
        f"{folder} lacks the devkit, which tells the classes: put {archive.name} there, or its {_META} and "
        f"{_GROUND_TRUTH}."
    )


def _read_from_tar(path: Path, inside: str) -> dict[str, bytes]:
    """The devkit's two files, by name."""
    wanted = {inside + name: name for name in (_META, _GROUND_TRUTH)}
    held: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in members(archive, str(path)):
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is not None and member.name.removeprefix("./") in wanted:
                    held[wanted[member.name.removeprefix("./")]] = stream.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise VerydeepError(f"{path} is damaged or incomplete; download it again.") from error
    return held


def _load_synsets(meta: io.BytesIO, where: Path) -> np.ndarray:
    """The array of synsets, a structure each."""
    try:
        from scipy.io import loadmat  # noqa: PLC0415 - an extra, needed here alone
    except ImportError as error:
        raise VerydeepError(
            f"{_META} of the ILSVRC devkit is a MATLAB file, read by scipy: pip install 'verydeep[ilsvrc]'."
        ) from error
    try:
        return np.atleast_1d(loadmat(meta, squeeze_me=True)["synsets"])
    except Exception as error:  # a damaged file raises nearly anything
        raise VerydeepError(f"{_META} in {where} cannot be read ({error}); get the devkit again.") from error


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise VerydeepError(f"{path} is missing; unpack Kaggle's archive again.")
    return path.read_text("utf-8", errors="replace").splitlines()
