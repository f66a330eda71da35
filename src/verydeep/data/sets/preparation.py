"""Turn ILSVRC-2012's original tars, or Kaggle's tree, into class folders: `verydeep prepare ilsvrc`.

Every file appears complete under its name, and a second run continues where the first one stopped. Names inside tars
are not trusted: only regular files with names as ILSVRC uses them are written.
"""

import os
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from verydeep.data.folders.listing import list_images
from verydeep.data.sets.imagenet import (
    KAGGLE_IMAGES,
    TARS,
    Metadata,
    find_tars,
    is_kaggle,
    kaggle_class,
    kaggle_split_names,
    open_tar,
    read_devkit,
    read_kaggle,
    tar_members,
)
from verydeep.disk import check_room, existing_part, write_error
from verydeep.errors import DataError
from verydeep.files import check_present
from verydeep.paths import real_path
from verydeep.wording import count_of

NUM_TEST_IMAGES = 100_000

_TRAIN_TAR = re.compile(r"(?:\./)?(n\d{8})\.tar")
_TRAIN_IMAGE = re.compile(r"(?:\./)?((n\d{8})_\d+\.JPEG)")
_FLAT_IMAGE = {name: re.compile(rf"(?:\./)?(?:{name}/)?(ILSVRC2012_{name}_\d{{8}}\.JPEG)") for name in ("val", "test")}


@dataclass(frozen=True)
class IlsvrcSource:
    """ILSVRC-2012 as it was downloaded."""

    folder: Path
    layout: str
    metadata: Metadata
    tars: dict[str, Path]
    """Split -> tar; empty for Kaggle's tree."""

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits among train, val and test that exist."""
        return tuple(self.tars) or kaggle_split_names(self.folder)

    def expected_counts(self, split: str) -> dict[str, int]:
        """Return the number of images of each class of the complete split (of test under ''); nothing if unknown."""
        if split == "test":
            return {"": NUM_TEST_IMAGES}
        if split == "val":
            return dict(Counter(self.metadata.validation.values()))
        return self.metadata.num_train_images


@dataclass(frozen=True)
class PreparationProgress:
    """Progress of one split."""

    split: str
    done: int
    total: int | None
    """Number of images of the complete split; None if unknown."""


def find_ilsvrc(folder: Path) -> IlsvrcSource:
    """Recognize the tars or Kaggle's tree in a folder.

    Raises:
        DataError: neither is there, or its lists cannot be read.
    """
    if tars := find_tars(folder):
        return IlsvrcSource(folder, "ILSVRC-2012's original tars", read_devkit(folder), tars)
    if is_kaggle(folder):
        return IlsvrcSource(folder, "ILSVRC-2012 as Kaggle's tree", read_kaggle(folder), {})
    raise DataError(
        f"{folder} holds neither ILSVRC-2012's tars ({TARS['train']}, {TARS['val']}) nor Kaggle's tree "
        f"({KAGGLE_IMAGES}); give the folder that does."
    )


def prepare_ilsvrc(source: IlsvrcSource, destination: Path) -> Iterator[PreparationProgress]:
    """Write every split to ``destination``/{train,val}/WNID/ and test/; yield after each image.

    Kaggle's files are hard-linked if the file system can, so that both trees share their bytes.

    Raises:
        DataError: a tar is damaged.
        ResourceError: ``destination`` cannot be written, its disk has no room, or it is removed meanwhile.
    """
    check_room(destination, count_missing_bytes(source, destination))
    lines = "".join(f"{wnid}\t{words}\n" for wnid, words in source.metadata.words.items())
    words = destination / "words.txt"
    with _write_whole(words) as temporary, temporary.open("x", encoding="utf-8") as file:
        file.write(lines)
    for split in source.split_names:
        counts = count_images(destination, split)
        total = sum(source.expected_counts(split).values()) or None
        done = counts.total()
        yield PreparationProgress(split, done, total)
        for is_new in _write_split(source, split, destination / split, counts):
            check_present(words)
            done += is_new
            yield PreparationProgress(split, done, total)
        check_present(words)


def count_missing_bytes(source: IlsvrcSource, destination: Path) -> int:
    """Return the most bytes that images will take which are not in ``destination`` yet; links take none."""
    total = sum(path.stat().st_size for path in source.tars.values())
    if not source.tars and existing_part(destination).stat().st_dev != source.folder.stat().st_dev:
        images = source.folder / KAGGLE_IMAGES
        total = sum(
            (images / name / file).stat().st_size for name in source.split_names for file in list_images(images / name)
        )
    if not total:
        return 0
    present = sum(path.stat().st_size for name in source.split_names for path in (destination / name).rglob("*.JPEG"))
    return max(0, total - present)


def count_images(destination: Path, split: str) -> Counter[str]:
    """Return the number of images of each class in ``destination``; images without class folder are under ''."""
    folder = destination / split
    files = list_images(folder) if folder.is_dir() else []
    return Counter(file.rpartition("/")[0] for file in files)


def describe_split(split: str, counts: Mapping[str, int], expected: Mapping[str, int]) -> str:
    """Return one line: how many images were written, and how many are missing for the complete set.

    Args:
        split: train, val or test.
        counts: from ``count_images``.
        expected: from ``IlsvrcSource.expected_counts``.
    """
    text = f"{split}: {count_of(sum(counts.values()), 'image')}"
    if split != "test":
        text += f" of {count_of(len(counts), 'class')}"
    if not expected:
        return f"{text} (the number of the complete set is unknown)"
    incomplete = sorted(wnid for wnid, count in expected.items() if counts.get(wnid, 0) < count)
    if not incomplete:
        return f"{text}, complete"
    num_missing = sum(expected[wnid] - counts.get(wnid, 0) for wnid in incomplete)
    text += f", incomplete: {count_of(num_missing, 'image')} {'is' if num_missing == 1 else 'are'} missing"
    if split != "test":
        first = incomplete[0]
        text += f" in {count_of(len(incomplete), 'class')} (first {first}: {counts.get(first, 0)} of {expected[first]})"
    return text


def _write_split(source: IlsvrcSource, split: str, folder: Path, counts: Counter[str]) -> Iterator[bool]:
    """Write the missing images of one split; yield whether each is new; ``counts`` are those of existing images."""
    expected = source.expected_counts(split)
    if not source.tars:
        yield from _link_kaggle(source, split, folder)
    elif expected and all(counts[wnid] >= count for wnid, count in expected.items()):
        return
    elif split == "train":
        yield from _unpack_train(source, folder, counts)
    else:
        yield from _unpack_flat(source, split, folder)


def _unpack_train(source: IlsvrcSource, folder: Path, counts: Counter[str]) -> Iterator[bool]:
    """Unpack the tar of 1000 tars; those of complete classes are not read."""
    path = source.tars["train"]
    with path.open("rb") as file, open_tar(file, str(path)) as outer:
        for member in tar_members(outer, str(path)):
            matched = _TRAIN_TAR.fullmatch(member.name)
            if matched is None or matched[1] not in source.metadata.words:
                continue
            wnid = matched[1]
            if counts[wnid] >= source.metadata.num_train_images[wnid]:
                continue
            stream = outer.extractfile(member)
            assert stream is not None
            yield from _unpack_class(stream, wnid, folder / wnid, f"{wnid}.tar inside {path}")


def _unpack_class(stream: IO[bytes], wnid: str, folder: Path, name: str) -> Iterator[bool]:
    """Unpack the tar of one class of training images."""
    with open_tar(stream, name) as archive:
        for member in tar_members(archive, name):
            matched = _TRAIN_IMAGE.fullmatch(member.name)
            if matched is not None and matched[2] == wnid:
                yield from _extract(archive, member, folder / matched[1], name)


def _unpack_flat(source: IlsvrcSource, split: str, folder: Path) -> Iterator[bool]:
    """Unpack the tar of val, whose images go to the folders of their classes, or of test, whose images stay flat."""
    path = source.tars[split]
    with path.open("rb") as file, open_tar(file, str(path)) as archive:
        for member in tar_members(archive, str(path)):
            matched = _FLAT_IMAGE[split].fullmatch(member.name)
            if matched is None:
                continue
            wnid = source.metadata.validation.get(matched[1]) if split == "val" else ""
            if wnid is not None:
                yield from _extract(archive, member, folder / wnid / matched[1], str(path))


def _link_kaggle(source: IlsvrcSource, split: str, folder: Path) -> Iterator[bool]:
    images = source.folder / KAGGLE_IMAGES / split
    for file in list_images(images):
        wnid = "" if split == "test" else kaggle_class(source.metadata, source.folder, split, file)
        target = folder / wnid / file.rpartition("/")[2]
        is_new = not target.is_file()
        if not is_new and target.stat().st_size == (images / file).stat().st_size:
            continue
        with _write_whole(target) as temporary:
            try:
                os.link(real_path(images / file), temporary)
            except OSError:  # another disk, or a file system without links
                with (images / file).open("rb") as content, temporary.open("xb") as copy:
                    shutil.copyfileobj(content, copy)
        yield is_new


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, name: str) -> Iterator[bool]:
    """Write one member to ``target``, unless a file of its size is there; yield whether it is new."""
    is_new = not target.is_file()
    if not is_new and target.stat().st_size == member.size:
        return
    stream = archive.extractfile(member)
    assert stream is not None
    with _write_whole(target) as temporary, temporary.open("xb") as file:
        try:
            shutil.copyfileobj(stream, file, 1 << 20)
        except (tarfile.TarError, ValueError) as error:
            raise DataError(f"{name} is damaged or incomplete; download it again.") from error
    yield is_new


@contextmanager
def _write_whole(target: Path) -> Iterator[Path]:
    """Give the name of a hidden temporary file, to be opened with "x" (no link is followed); it replaces ``target``.

    Unlike ``files.atomic_write`` this does not wait for the disk, which would take hours for a million files.
    """
    temporary = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        yield temporary
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise write_error(target, error) from error
