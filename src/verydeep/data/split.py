"""One split of a data set: its images, their labels, and how they are decoded."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from verydeep.data.pixels.decoding import decode, image_size
from verydeep.data.pixels.formats import promises_bytes
from verydeep.data.pixels.shapes import check_shape
from verydeep.errors import DataError
from verydeep.ops.arrays import Float32Array, Int8Array, Int64Array
from verydeep.ops.value_ranges import ValueRanges

MAX_CLASSES = 5
"""Classes that a sentence names."""


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a data set: train, val, test, or all; sorted by path."""

    name: str
    root: Path
    files: tuple[str, ...]
    """POSIX paths relative to ``root``; a file repeats if several persons on it are samples (VOC's actions)."""
    labels: Int64Array | None
    """(n,) index into ``class_names`` of each file; None if the split has no labels."""
    class_names: tuple[str, ...]
    """One name per class, sorted: the folder's name, which is a WNID in ImageNet."""
    class_words: tuple[str, ...]
    """Class words; equal to ``class_names`` if nothing better is known."""
    layout: str
    """Description of the layout, such as 'class folders with train/ and val/'."""
    camera_rotation: bool
    """Whether the rotation that a camera noted in EXIF is applied."""
    boxes: tuple[Float32Array, ...] | None = None
    """Per file (m, 4) float32, inclusive xyxy in pixels of the file, counted from 0; None if the set has no boxes."""
    relevance: Int8Array | None = None
    """(n, K) for sets where an image may have several classes or none: 1 the class is on the image, -1 it is not, 0 it
    counts as neither (VOC's 'difficult'); ``labels`` is then None."""
    regions: Float32Array | None = None
    """(n, 4) the region of each file that stands for the image, in the frame of ``boxes``; None: the whole file."""
    groups: tuple[str, ...] | None = None
    """Group of each image, which no random split separates; None: photographs are on their own."""
    notes: tuple[str, ...] = ()
    """Sentences about the folder that a reader should know, such as what was left out."""
    num_unused: int = 0
    """Images of the folder that the split leaves out, because they are in no class folder and on no list."""
    problems: tuple[str, ...] = ()
    """Sentences about folders that stop a training; empty unless the split was opened to verify it."""
    images: tuple[Image.Image, ...] | None = None
    """Images in memory, in RGB and upright, named by ``files``; None if the images are files."""

    value_ranges: ValueRanges | None = None
    """Ranges of values that are not bytes; None: none were chosen, and each file has its own."""

    @classmethod
    def of_photographs(cls, paths: Sequence[Path]) -> "Split":
        """Return a split of people's own photographs, without labels, in the order given."""
        return cls(
            name="photographs",
            root=Path(),
            files=tuple(path.as_posix() for path in paths),
            labels=None,
            class_names=(),
            class_words=(),
            layout="photographs",
            camera_rotation=True,
        )

    @classmethod
    def of_images(cls, images: Sequence[Image.Image]) -> "Split":
        """Return a split of images in memory, without labels.

        Args:
            images: in RGB and upright, as ``images.to_image`` makes them.
        """
        names = tuple(f"image {number}" for number in range(1, len(images) + 1))
        return replace(cls.of_photographs([]), files=names, images=tuple(images))

    @property
    def photographs(self) -> Int64Array:
        """(n,) number of the photograph of each sample, counted from 0 in order; persons may share one."""
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(file, len(numbers)) for file in self.files], np.int64)

    @property
    def units(self) -> Int64Array:
        """(n,) number of what no random split separates, counted from 0: the group or the photograph of each sample."""
        if self.groups is None:
            return self.photographs
        return np.unique(np.array(self.groups), return_inverse=True)[1].astype(np.int64)

    def first_of_each_class(self, count: int) -> "Split":
        """Return a split of the first ``count`` images of each class; the split must have labels."""
        assert self.labels is not None
        return self.subset(
            [int(i) for k in range(len(self.class_names)) for i in np.flatnonzero(self.labels == k)[:count]]
        )

    def boxed(self) -> "Split":
        """Return a split of the images that have a box."""
        assert self.boxes is not None
        return self.subset([i for i, boxes in enumerate(self.boxes) if len(boxes)])

    def cropped_to_boxes(self) -> "Split":
        """Return the split with each image cropped to its one box."""
        assert self.boxes is not None and all(len(boxes) == 1 for boxes in self.boxes)
        return replace(self, regions=np.concatenate(self.boxes))

    @property
    def shown_classes(self) -> tuple[str, ...]:
        """The classes that an image of the split has; all of them if the labels are unknown."""
        if self.labels is None:
            return self.class_names
        return tuple(self.class_names[label] for label in np.unique(self.labels[self.labels >= 0]))

    def with_classes(self, class_names: Sequence[str], class_words: Sequence[str]) -> "Split":
        """Return the split with labels numbered by these classes, which include all that it shows."""
        label_of = {name: label for label, name in enumerate(class_names)}
        new_labels = np.array([label_of.get(name, -1) for name in self.class_names], np.int64)
        labels = None if self.labels is None else new_labels[self.labels]
        return replace(self, labels=labels, class_names=tuple(class_names), class_words=tuple(class_words))

    def subset(self, indices: Sequence[int]) -> "Split":
        """Return a split of some of the images."""
        chosen = list(indices)
        return replace(
            self,
            files=tuple(self.files[i] for i in chosen),
            labels=None if self.labels is None else self.labels[chosen],
            boxes=None if self.boxes is None else tuple(self.boxes[i] for i in chosen),
            relevance=None if self.relevance is None else self.relevance[chosen],
            regions=None if self.regions is None else self.regions[chosen],
            groups=None if self.groups is None else tuple(self.groups[i] for i in chosen),
            images=None if self.images is None else tuple(self.images[i] for i in chosen),
        )

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> Path:
        """Return the file of one image; an image in memory has no file, and its name takes the place of one."""
        return self.root / self.files[index]

    def open_image(self, index: int, at_least: tuple[int, int] | None = None) -> Image.Image:
        """Decode one image as RGB; the caller may change it.

        Args:
            index: of the image.
            at_least: (width, height) that suffice: a larger JPEG may be decoded at a lower resolution.

        Raises:
            DataError: the file cannot be decoded, or is too elongated.
        """
        path = self.path(index)
        if self.images is not None:
            image = self.images[index].copy()
        else:
            image = decode(
                path, camera_rotation=self.camera_rotation, at_least=at_least, value_ranges=self.value_ranges
            )
        check_shape(*image.size, path)
        return image

    def image_size(self, index: int) -> tuple[int, int]:
        """Return (width, height) of one image after the camera's rotation; a file's header alone is read.

        Raises:
            DataError: the file has no readable header, or is too elongated.
        """
        path = self.path(index)
        if self.images is not None:
            size = self.images[index].size
        else:
            size = image_size(path, camera_rotation=self.camera_rotation)
        check_shape(*size, path)
        return size

    def fingerprint(self, index: int) -> str:
        """Return a text that changes when an image changes.

        It has the file's name, size and modification time, and its value ranges; or a hash of pixels in memory.
        """
        if self.images is not None:
            image = self.images[index]
            return f"pixels\0{image.size}\0{hashlib.sha256(image.tobytes()).hexdigest()}"
        try:
            status = self.path(index).stat()
        except OSError as error:  # decoding the file reports it
            return f"{self.files[index]}\0{error.errno}"
        text = f"{self.files[index]}\0{status.st_size}\0{status.st_mtime_ns}"
        if self.value_ranges and not promises_bytes(self.files[index]):
            text += f"\0{sorted(self.value_ranges.items())}"
        return text

    def sample_key(self, index: int) -> tuple[Path, bytes]:
        """Return what distinguishes a sample from others of its set: its file and, as files may repeat, its boxes."""
        return self.path(index), b"" if self.boxes is None else self.boxes[index].tobytes()


def describe_classes(splits: Sequence[Split]) -> str:
    """Return the number of classes that splits of one data set show, and the first five with their numbers of images.

    "3 classes: ant 5, bee 4, cow 1"; nothing if no split has labels.
    """
    counts: Counter[int] = Counter()
    for split in splits:
        counts.update(count_labels(split))
    if not counts:
        return ""
    names, words = splits[0].class_names, splits[0].class_words
    texts = [f"{names[k] if names[k] == words[k] else words[k].split(',')[0]} {counts[k]:,}" for k in sorted(counts)]
    more = f" and {len(texts) - MAX_CLASSES:,} more" if len(texts) > MAX_CLASSES else ""
    return f"{len(texts):,} {'class' if len(texts) == 1 else 'classes'}: {', '.join(texts[:MAX_CLASSES])}{more}"


def count_labels(split: Split) -> Counter[int]:
    """Return label -> number of images that show its class; an image of several classes counts for each."""
    labels = split.labels if split.relevance is None else np.nonzero(split.relevance == 1)[1]
    return Counter() if labels is None else Counter(labels[labels >= 0].tolist())


def describe_single_class(split: Split) -> str:
    """Return a sentence if all images of a labeled split are of the only class, which nothing can be learned from."""
    has_others = split.relevance is not None and bool((split.relevance < 1).any())
    if len(split.class_names) != 1 or (split.labels is None and split.relevance is None) or has_others:
        return ""
    others = ", or put the images that lie in no class folder into one" if split.num_unused else ""
    return (
        f"{split.root} has a single class ({split.class_names[0]}), and a net cannot be trained from one class: add "
        f"photographs of another{others}."
    )


def all_skipped_error(split: Split, skipped: Mapping[str, str] = MappingProxyType({})) -> DataError:
    """Return the error of a job that skipped all its images, for the reasons of ``skipped``, file -> reason."""
    first = next(iter(skipped.values()), "")
    if len(split) == 1:
        return DataError(first or f"{split.path(0)} cannot be used.")
    place = "" if split.root == Path() else f" of {split.root} ({split.name})"
    images = f"Not one of the {len(split):,} images{place} can be used"
    return DataError(f"{images}, the first because {first}" if first else f"{images}.")
