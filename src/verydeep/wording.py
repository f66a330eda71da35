"""Numbers, lists and names in messages."""

import re
from collections.abc import Mapping, Sequence

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that break lines, change the colors or the direction of a terminal's text, or cannot be written."""


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


def escape_controls(text: str, but: str = "") -> str:
    """Return a text with escapes in the place of characters that control a terminal, which names may have.

    Args:
        text: that people read.
        but: characters that stay as they are.
    """
    return _CONTROL.sub(lambda found: found[0] if found[0] in but else ascii(found[0])[1:-1], text)


def name_given(options: Mapping[str, bool]) -> str:
    """Return the options that were given, for a message: "`a`", "`a` and `b`", "`a`, `b` and `c`"; "" without any."""
    given = [f"`{name}`" for name, is_given in options.items() if is_given]
    return " and ".join([*([", ".join(given[:-1])] if given[1:] else []), *given[-1:]])


def shorten_list(names: Sequence[str], count: int = 5) -> str:
    """Return names with commas between them; of many the first, and the number of the others."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
