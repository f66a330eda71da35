"""Numbers, lists and names in messages."""

import re
from collections.abc import Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def escape_controls(text: str) -> str:
    """Return a text without the characters of file names that break lines or change the colors of a terminal."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def count_of(number: int, noun: str) -> str:
    """Return a number of things in words: "1 step", "1,224 steps", "2 classes"."""
    ending = "" if number == 1 else "es" if noun.endswith(("s", "x")) else "s"
    return f"{number:,} {noun}{ending}"


def size_text(num_bytes: int) -> str:
    """Return a number of bytes in words: "512 bytes", "3.4 kB", "1.2 GB"."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 1000)):
        if num_bytes >= size:
            return f"{num_bytes / size:,.1f} {unit}"
    return count_of(num_bytes, "byte")


def rate_text(rate: float) -> str:
    """Return a learning rate with three digits at most: "0.00177"."""
    return f"{rate:.3g}"


def join_choices(choices: Sequence[str]) -> str:
    """Return choices in words: "a", "a or b", "a, b or c"."""
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last


def shorten_list(names: Sequence[str], count: int = 5) -> str:
    """Return names with commas between them; of many the first, and the number of the others."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
