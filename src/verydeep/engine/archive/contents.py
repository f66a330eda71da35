"""The images that an archive holds, and which of them have changed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.engine.archive.shards import DamagedShardError, Shard, list_shards
from verydeep.engine.log import Log
from verydeep.ops.arrays import BoolArray, Int64Array


@dataclass(frozen=True)
class ArchiveContents:
    """The images of an archive, shard by shard."""

    shards: list[Shard]
    sizes: list[int]
    """Number of images of each shard."""
    path_ids: Int64Array
    """(n,) ids of the images' paths."""
    keys: Int64Array
    """(n,) keys of the images, which change with their files."""

    def find_changed_rows(self, path_ids: Int64Array, keys: Int64Array) -> list[tuple[Shard, BoolArray]]:
        """Return the shards with images that have changed, and which of their rows these are.

        Args:
            path_ids: ids of the paths of images.
            keys: keys of the same images as their files are now.
        """
        rows = np.isin(self.path_ids, path_ids) & ~np.isin(self.keys, keys)
        rows_of_shards = np.split(rows, np.cumsum(self.sizes)[:-1]) if self.sizes else []
        return [(shard, part) for shard, part in zip(self.shards, rows_of_shards, strict=True) if part.any()]


def read_contents(folder: Path, log: Log) -> ArchiveContents:
    """Read which images an archive holds, and set damaged shards aside."""
    shards, path_ids, keys = [], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for shard in list_shards(folder):
        try:
            shard_path_ids, shard_keys = shard.read_ids()
        except DamagedShardError:
            aside = shard.path.rename(shard.path.with_suffix(".damaged"))
            log.info(f"A damaged shard was renamed to {aside}; its images are described again if they are given again.")
        else:
            shards.append(shard)
            path_ids.append(shard_path_ids)
            keys.append(shard_keys)
    return ArchiveContents(shards, list(map(len, keys[1:])), np.concatenate(path_ids), np.concatenate(keys))
