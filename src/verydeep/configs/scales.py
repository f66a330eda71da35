"""Train scales S and test scales Q, in the paper's units: the short side of an image at a crop of 224."""

from collections.abc import Sequence
from dataclasses import dataclass

from verydeep.configs.networks import PAPER_CROP
from verydeep.errors import OptionError

LARGEST_SCALE = 4096
"""The paper's largest is 768; at Q=10,000 one image takes a hundred gigabytes."""


def in_pixels(scale: int, crop: int) -> int:
    """Return the short side in pixels at a crop: 256 is 73 pixels at crop 64; halves round up."""
    return (2 * scale * crop + PAPER_CROP) // (2 * PAPER_CROP)


@dataclass(frozen=True)
class TrainScale:
    """A train scale S: one number, or a range from which each image's S is drawn (scale jittering, section 3.1)."""

    smallest: int
    largest: int

    @classmethod
    def parse(cls, text: str) -> "TrainScale":
        """Read "256" or "256-512".

        Raises:
            OptionError: the text is no number or range, the larger number is first, or S is not from 224 to 4096.
        """
        first, dash, last = text.partition("-")
        if not all(part.isdecimal() and len(part) < 10 for part in ((first, last) if dash else (first,))):
            raise OptionError(
                f"`scale` {text!r} is not a train scale: write one number (256) or a range (256-512).", "scale"
            )
        scale = cls(int(first), int(last or first))
        if not PAPER_CROP <= scale.smallest <= scale.largest <= LARGEST_SCALE:
            raise OptionError(
                f"`scale={text}` is out of range: whatever your crop, state scales for crop {PAPER_CROP}; give one "
                f"from {PAPER_CROP} to {LARGEST_SCALE}, or two with the smaller one first, such as 256-512.",
                "scale",
            )
        return scale

    @classmethod
    def is_valid(cls, text: str) -> bool:
        """Whether the text is a train scale."""
        try:
            cls.parse(text)
        except OptionError:
            return False
        return True

    def __str__(self) -> str:
        return str(self.smallest) if self.smallest == self.largest else f"{self.smallest}-{self.largest}"

    @property
    def middle(self) -> int:
        """The middle 0.5 (Smin + Smax), the paper's single test scale for a jittered net; S if it is fixed."""
        return (self.smallest + self.largest) // 2

    @property
    def jittered(self) -> bool:
        """Whether each image's S is drawn from a range."""
        return self.smallest < self.largest

    @property
    def test_scales(self) -> tuple[int, ...]:
        """The default test scales: S if it is fixed, or Smin, 0.5 (Smin + Smax) and Smax (sections 4.1, 4.2)."""
        return tuple(sorted({self.smallest, self.middle, self.largest}))

    def in_pixels(self, crop: int) -> tuple[int, int]:
        """Return the smallest and the largest S in pixels, for a net of this crop."""
        return in_pixels(self.smallest, crop), in_pixels(self.largest, crop)


def parse_test_scales(text: str) -> tuple[int, ...]:
    """Read test scales Q such as "256,384,512"; return them rising.

    Raises:
        OptionError: these are not whole numbers from 224 to 4096, or one comes twice.
    """
    parts = text.split(",")
    scales = sorted(int(part) for part in parts if part.strip().isdecimal() and len(part) < 100)
    in_range = all(PAPER_CROP <= scale <= LARGEST_SCALE for scale in scales)
    if len(scales) != len(parts) or len(set(scales)) != len(scales) or not in_range:
        raise OptionError(
            f"`scales={text}` is wrong: whatever the net's crop, state scales for crop {PAPER_CROP}; give distinct "
            f"whole numbers from {PAPER_CROP} to {LARGEST_SCALE}, such as 256,384,512.",
            "scales",
        )
    return tuple(scales)


def format_scales(scales: Sequence[int], crop: int) -> list[str]:
    """Return test scales for a report: in the paper's units, and in pixels where these differ."""
    return [str(q) if crop == PAPER_CROP else f"{q} ({in_pixels(q, crop)})" for q in scales]
