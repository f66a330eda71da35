"""Part of a protocol's text that knows its place, so that an error can point at it."""

from dataclasses import dataclass

from verydeep.errors import EXCERPT, OptionError


@dataclass(frozen=True)
class TextSpan:
    """A part of a text that remembers where it stands."""

    subject: str
    """The first words of an error: the parameter in backticks, or what the whole text is."""
    whole: str
    start: int = 0
    length: int | None = None
    """None: to the end."""

    @property
    def text(self) -> str:
        """The characters of this part."""
        return self.whole[self.start : None if self.length is None else self.start + self.length]

    def strip(self) -> "TextSpan":
        """Return the part without the white space around it."""
        text = self.text.strip()
        return TextSpan(self.subject, self.whole, self.start + self.text.find(text), len(text))

    def split(self, mark: str, *, strip: bool = True) -> list["TextSpan"]:
        """Return the parts between the marks."""
        parts, start = [], self.start
        for text in self.text.split(mark):
            part = TextSpan(self.subject, self.whole, start, len(text))
            parts.append(part.strip() if strip else part)
            start += len(text) + len(mark)
        return parts

    def error(self, reason: str) -> OptionError:
        """Return an error of one sentence, followed by the text around the place with a caret under it."""
        quoted = f", {self.text!r}" if self.text else ""
        first = max(0, self.start - 50)
        excerpt = "".join(char if char.isprintable() else " " for char in self.whole[first : first + 100])
        return OptionError(
            f"{self.subject} {self.whole!r} is wrong at character {self.start + 1}{quoted}: {reason}.{EXCERPT}"
            f"{excerpt}\n    {' ' * (self.start - first)}^",
            self.subject.strip("`") if self.subject.startswith("`") else None,
        )
