"""One plain sentence about a result, which a reader understands without the terms of the trade."""

from collections.abc import Sequence

from verydeep.ops.metrics import Share, wilson_interval
from verydeep.wording import count_of

GLOSSARY = "Terms are explained in docs/glossary.md of verydeep's repository."
"""Remark above tables with technical terms."""


def summarize_right(
    num_right: int, num_images: int, class_shares: Sequence[tuple[str, float]], subject: str = "Right", part: str = ""
) -> str:
    """Return a sentence such as "Right on 67% of 736 photographs [63, 70]; best class daisy 81%, weakest roses 28%.".

    Args:
        num_right: Number of photographs with a right answer.
        num_images: Number of photographs, at least 1.
        class_shares: Words for each class with photographs, and the percentage of them that are right.
        subject: What is right.
        part: The split of the photographs: "736 val photographs", "all 736 photographs".
    """
    share, is_whole = wilson_interval(num_right, num_images), part == "all"
    photographs = count_of(num_images, f"{part} photograph" if part and not is_whole else "photograph")
    rate = f"{percent_text(share.percent)} of {'all ' if is_whole else ''}{photographs} {interval_text(share)}"
    return f"{subject} on {rate}{name_extremes(class_shares)}."


def name_extremes(class_shares: Sequence[tuple[str, float]]) -> str:
    """Return "; best class daisy 81%, weakest roses 28%"; nothing about a single class.

    Args:
        class_shares: Words for each class, and its percentage.
    """
    if len(class_shares) < 2:
        return ""
    best, weakest = max(class_shares, key=lambda each: each[1]), min(class_shares, key=lambda each: each[1])
    if best[1] == weakest[1]:
        return f"; every class {percent_text(best[1])}"
    return (
        f"; best class {short_words(best[0])} {percent_text(best[1])}, "
        f"weakest {short_words(weakest[0])} {percent_text(weakest[1])}"
    )


def percent_text(percent: float) -> str:
    """Return "67%"; a figure that would be rounded to 0 or 100 keeps a digit: "99.6%"."""
    is_rounded_away = round(percent) in (0, 100) and percent not in (0, 100)
    return f"{percent:.1f}%" if is_rounded_away else f"{percent:.0f}%"


def interval_text(share: Share) -> str:
    """Return "[63, 70]"."""
    return f"[{share.low:.0f}, {share.high:.0f}]"


def short_words(words: str) -> str:
    """Return the first of several words for a class: "tench" for "tench, Tinca tinca"."""
    return words.split(",", maxsplit=1)[0]
