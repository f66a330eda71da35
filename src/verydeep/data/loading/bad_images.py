"""The error about files that cannot be decoded: how many there are, and the first of them."""

import time
from collections.abc import Mapping

from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.wording import shorten_list

SEARCH_SECONDS = 10
"""Time in which further bad files are searched; the headers of the rest are read for as long again."""


def bad_image_error(split: Split, skipped: Mapping[str, str]) -> DataError:
    """Return the error about a split with files that cannot be decoded, of which some are known: file -> reason."""
    found, is_complete = find_bad_images(split)
    found = dict(skipped) | found
    first = found[min(found)]
    advice = "`verydeep verify DATA` lists all files that cannot be used; `bad_images=skip` leaves them out."
    if len(found) == 1:
        return DataError(f"{first} {advice}")
    number = f"{'' if is_complete else 'At least '}{len(found):,} of {len(set(split.files)):,} files"
    names = shorten_list(sorted(found), 3)
    return DataError(f"{number} of {split.root} cannot be used: {names}. The first: {first} {advice}")


def find_bad_images(split: Split) -> tuple[dict[str, str], bool]:
    """Return file -> reason of files that cannot be decoded, as far as time allows, and whether all were looked at."""
    found: dict[str, str] = {}
    begin = time.monotonic()
    for index, file in enumerate(split.files):
        seconds = time.monotonic() - begin
        if seconds > 2 * SEARCH_SECONDS:
            return found, False
        try:
            split.image_size(index) if seconds > SEARCH_SECONDS else split.open_image(index)
        except DataError as error:
            found[file] = str(error)
    return found, time.monotonic() - begin <= SEARCH_SECONDS
