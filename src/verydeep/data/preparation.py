"""ILSVRC-2012's original tars, or Kaggle's tree, to class folders: `verydeep prepare ilsvrc`.

Every file is written beside its place and renamed, so what is there is whole, and a second run goes on where
the first stopped. Names inside tars are not trusted: only regular files that are called what ILSVRC's are
called are written.
"""

import os
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from verydeep.data.folder import list_images
from verydeep.data.imagenet import (
    KAGGLE_IMAGES,
    TARS,
    Metadata,
    find_tars,
    is_kaggle,
    kaggle_class,
    kaggle_split_names,
    members,
    read_devkit,
    read_kaggle,
)
from verydeep.errors import VerydeepError

NUM_TEST_IMAGES = 100_000

_TRAIN_TAR = re.compile(r"(?:\./)?(n\d{8})\.tar")
_TRAIN_IMAGE = re.compile(r"(?:\./)?((n\d{8})_\d+\.JPEG)")
_FLAT_IMAGE = {part: re.compile(rf"(?:\./)?(?:{part}/)?(ILSVRC2012_{part}_\d{{8}}\.JPEG)") for part in ("val", "test")}


@dataclass(frozen=True)
class IlsvrcSource:
    """ILSVRC-2012 as it was found."""

    folder: Path
    layout: str
    metadata: Metadata
    tars: dict[str, Path]
    """Part -> tar; empty for Kaggle's tree."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Those of train, val and test that are there."""
        return tuple(self.tars) or kaggle_split_names(self.folder)

    def expected(self, part: str) -> dict[str, int]:
        """How many images each class should have (test's under ''); empty where nothing says it."""
        if part == "test":
            return {"": NUM_TEST_IMAGES}
        if part == "val":
            return dict(Counter(self.metadata.validation.values()))
        return self.metadata.num_train_images


@dataclass(frozen=True)
class PreparationProgress:
    """How far one part is."""

    part: str
    done: int
    total: int | None
    """Images that the complete part has; None where nothing says it."""


def find_source(folder: Path) -> IlsvrcSource:
    """Recognize what ``folder`` holds.

    Raises:
        VerydeepError: neither the tars nor Kaggle's tree, or its lists cannot be read.
    """
    if tars := find_tars(folder):
        return IlsvrcSource(folder, "ILSVRC-2012's original tars", read_devkit(folder), tars)
    if is_kaggle(folder):
        return IlsvrcSource(folder, "ILSVRC-2012 as Kaggle's tree", read_kaggle(folder), {})
    raise VerydeepError(
        f"{folder} holds neither ILSVRC-2012's tars ({TARS['train']}, {TARS['val']}) nor Kaggle's tree "
        f"({KAGGLE_IMAGES}); name the folder that does."
    )


def prepare_ilsvrc(source: IlsvrcSource, destination: Path) -> Iterator[PreparationProgress]:
    """Bring every part into ``destination``/{train,val}/WNID/ and test/; yield after each image.

    Kaggle's files are hard-linked where the file system can, so both trees share their bytes.

    Raises:
        VerydeepError: a tar is damaged, or ``destination`` cannot be written.
    """
    lines = "".join(f"{wnid}\t{words}\n" for wnid, words in source.metadata.words.items())
    with _write_beside(destination / "words.txt") as beside:
        beside.write_text(lines, "utf-8")
    for part in source.parts:
        there = Counter(count_images(destination, part))
        expected = source.expected(part)
        total = sum(expected.values()) or None
        done = there.total()
        yield PreparationProgress(part, done, total)
        for _ in _bring(source, part, destination / part, there):
            done += 1
            yield PreparationProgress(part, done, total)


def count_images(destination: Path, part: str) -> dict[str, int]:
    """Images of each class that lie in a part of ``destination``; those without class folder under ''."""
    folder = destination / part
    files = list_images(folder) if folder.is_dir() else []
    return dict(Counter(file.rpartition("/")[0] for file in files))


def describe_part(source: IlsvrcSource, destination: Path, part: str) -> str:
    """One line: how many images a part has, and what the complete set would have beyond them."""
    found, expected = count_images(destination, part), source.expected(part)
    told = f"{part}: {sum(found.values()):,} images"
    if part != "test":
        told += f" of {len(found):,} classes"
    if not expected:
        return f"{told} (nothing here says how many there should be)"
    short = sorted(wnid for wnid, count in expected.items() if found.get(wnid, 0) < count)
    if not short:
        return f"{told}, complete"
    lacking = sum(expected[wnid] - found.get(wnid, 0) for wnid in short)
    told += f", only a part of ILSVRC: {lacking:,} images are lacking"
    if part != "test":
        first = short[0]
        told += f" in {len(short):,} classes (first {first}: {found.get(first, 0)} of {expected[first]})"
    return told


def _bring(source: IlsvrcSource, part: str, folder: Path, there: Counter[str]) -> Iterator[None]:
    """Write what ``folder`` lacks of one part, yielding after each image; ``there`` counts what it has."""
    expected = source.expected(part)
    if not source.tars:
        yield from _link_kaggle(source, part, folder)
    elif expected and all(there[wnid] >= count for wnid, count in expected.items()):
        return
    elif part == "train":
        yield from _unpack_train(source, folder, there)
    else:
        yield from _unpack_flat(source, part, folder)


def _unpack_train(source: IlsvrcSource, folder: Path, there: Counter[str]) -> Iterator[None]:
    """The tar of 1000 tars; one whose class is complete already is not read."""
    path = source.tars["train"]
    with path.open("rb") as file, _open_tar(file, str(path)) as outer:
        for member in members(outer, str(path)):
            name = _TRAIN_TAR.fullmatch(member.name) if member.isfile() else None
            if name is None or name[1] not in source.metadata.words:
                continue
            wnid = name[1]
            if there[wnid] >= source.metadata.num_train_images[wnid]:
                continue
            told = f"{wnid}.tar inside {path}"
            stream = outer.extractfile(member)
            assert stream is not None
            with _open_tar(stream, told) as inner:
                for image in members(inner, told):
                    matched = _TRAIN_IMAGE.fullmatch(image.name) if image.isfile() else None
                    if matched is None or matched[2] != wnid:
                        continue
                    if _extract(inner, image, folder / wnid / matched[1], told):
                        yield


def _unpack_flat(source: IlsvrcSource, part: str, folder: Path) -> Iterator[None]:
    """The tar of val, whose images go to the folders of their classes, or of test, whose images stay flat."""
    path = source.tars[part]
    with path.open("rb") as file, _open_tar(file, str(path)) as archive:
        for member in members(archive, str(path)):
            matched = _FLAT_IMAGE[part].fullmatch(member.name) if member.isfile() else None
            if matched is None:
                continue
            wnid = source.metadata.validation.get(matched[1]) if part == "val" else ""
            if wnid is not None and _extract(archive, member, folder / wnid / matched[1], str(path)):
                yield


def _link_kaggle(source: IlsvrcSource, part: str, folder: Path) -> Iterator[None]:
    images = source.folder / KAGGLE_IMAGES / part
    for file in list_images(images):
        wnid = "" if part == "test" else kaggle_class(source.metadata, source.folder, part, file)
        target = folder / wnid / file.rpartition("/")[2]
        if target.is_file() and target.stat().st_size == (images / file).stat().st_size:
            continue
        with _write_beside(target) as beside:
            beside.unlink(missing_ok=True)
            try:
                os.link((images / file).resolve(), beside)
            except OSError:  # another disk, or a file system without links
                shutil.copyfile(images / file, beside)
        yield


@contextmanager
def _open_tar(stream: IO[bytes], told: str) -> Iterator[tarfile.TarFile]:
    try:
        archive = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115 - the error is about opening alone
    except tarfile.TarError as error:
        raise VerydeepError(f"{told} is no tar, damaged or incomplete; download it again.") from error
    with archive:
        yield archive


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, told: str) -> bool:
    """Write one member to ``target``, unless it is there in full length; returns whether it was written."""
    if target.is_file() and target.stat().st_size == member.size:
        return False
    stream = archive.extractfile(member)
    assert stream is not None
    with _write_beside(target) as beside, beside.open("wb") as file:
        _copy(stream, file, told)
    return True


def _copy(stream: IO[bytes], file: IO[bytes], told: str) -> None:
    try:
        shutil.copyfileobj(stream, file, 1 << 20)
    except tarfile.TarError as error:
        raise VerydeepError(f"{told} is damaged or incomplete; download it again.") from error


@contextmanager
def _write_beside(target: Path) -> Iterator[Path]:
    """A hidden file beside ``target`` that takes its place once it is complete.

    Not brought to the disk at once, as `verydeep.files.atomic_write` does: that would take hours for a million files.
    """
    beside = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(target)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        if not isinstance(error, OSError):
            raise
        raise VerydeepError(
            f"{target} cannot be written ({error.strerror or error}); the same command goes on from there."
        ) from error
