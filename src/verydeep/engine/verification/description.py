"""Descriptors of the photographs that `verify` inspects, from the cache or from a net."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.descriptors.activations import default_layer
from verydeep.engine.descriptors.cache import compute_descriptors, read_descriptors
from verydeep.engine.descriptors.representation import DEFAULT_SCALES, Representation
from verydeep.engine.nets.kernels import choose_kernels
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.engine.verification.inspection import InspectedPhotograph
from verydeep.ops.arrays import Float32Array
from verydeep.ops.close_pairs import find_nearest

NUM_SIMILAR = 3
"""Photographs with the most similar descriptors that each photograph is compared with."""

DECODING = Decoding(bad_images="skip")


@dataclass(frozen=True, eq=False)
class DescribedPhotographs:
    """Photographs with their descriptors."""

    photographs: tuple[InspectedPhotograph, ...]
    values: Float32Array
    """(n, D) descriptors of length one."""

    def find_similar(self) -> Iterator[tuple[str, str]]:
        """Yield each photograph with the few whose descriptors are the most similar to its own, as pairs of files.

        How similar near-duplicates are depends on the net, so all of these pairs are compared.
        """
        for row, columns in find_nearest(self.values, NUM_SIMILAR):
            for column in columns:
                yield self.photographs[row].file, self.photographs[column].file


def describe_photographs(
    net: Net,
    splits: Sequence[Split],
    root: Path,
    photographs: Sequence[InspectedPhotograph],
    runtime: Runtime,
) -> DescribedPhotographs:
    """Describe the photographs of all splits of a data set; those that cannot be decoded are left out.

    Raises:
        WeightsError: the net cannot be loaded, or computes values that are not finite.
        ResourceError: the disk is full.
    """
    representation = Representation((net,), (default_layer(net.config),), DEFAULT_SCALES)
    runtime = choose_kernels(runtime, [net], sum(map(len, splits)))
    known = {photograph.file: photograph for photograph in photographs}
    rows: dict[str, Float32Array] = {}
    for split in splits:
        if not any(split.path(index).relative_to(root).as_posix() in known for index in range(len(split))):
            continue
        skipped = compute_descriptors(representation, split, runtime, DECODING)
        samples = read_descriptors(representation, split, skipped, runtime, DECODING)
        for index, values in enumerate(samples.values):
            file = samples.split.path(index).relative_to(root).as_posix()
            if file in known:
                rows.setdefault(file, values)
    values = np.stack(list(rows.values())) if rows else np.empty((0, 1), np.float32)
    return DescribedPhotographs(tuple(known[file] for file in rows), values)
