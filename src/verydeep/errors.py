"""Errors that a user can fix: one small tree, so that a caller can tell them apart.

A message is one clear sentence: what is wrong, where, and what to do. It names parameters in backticks, as a Python
caller knows them: `init_from`, `devices=2`. The command line prints the sentence with its own names for them
(--init-from, --devices 2) and exits with 1; it shows no traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from verydeep.wording import escape_controls

EXCERPT = "\n    "
"""The beginning of an excerpt behind the sentence."""
LONGEST = 2000
"""Largest number of characters of a message; the middle of a longer message, which quotes a file, is left out."""


class VerydeepError(Exception):
    """Base of all errors that a user can fix.

    A message is a single line. Only a quotation of what the user typed, such as a protocol, may follow on lines of its
    own. Characters that control a terminal become escapes.
    """

    def __init__(self, message: str) -> None:
        sentence, excerpt, rest = message.partition(EXCERPT)
        if len(sentence) > LONGEST and not excerpt:
            sentence = f"{sentence[: LONGEST // 2]} ... {sentence[-LONGEST // 2 :]}"
        super().__init__(escape_controls(sentence) + excerpt + escape_controls(rest, but="\n"))


class DataError(VerydeepError):
    """Photographs, folders, labels or boxes cannot be used."""


class WeightsError(VerydeepError):
    """A net or a weight file is missing, damaged, or does not fit."""


class OptionError(VerydeepError):
    """The value of a parameter, or a combination of parameters, makes no sense."""

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter
        """The parameter's name in Python; None unless exactly one parameter is wrong."""


class ResourceError(VerydeepError):
    """Memory, disk space, a device, the network or an optional package is missing, or another job holds a lock."""


class OtherProcessError(ResourceError):
    """This process of a job ends because another process has ended. That process reports the reason."""


@contextmanager
def require_extra(purpose: str, package: str, extra: str) -> Iterator[None]:
    """Name the extra to install where an import within fails.

    Raises:
        ResourceError: A package is missing.
    """
    try:
        yield
    except ImportError:
        raise ResourceError(f"{purpose} needs {package}: pip install 'verydeep[{extra}]'.") from None
