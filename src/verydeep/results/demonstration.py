"""The result of `demo`: where the page was."""

from dataclasses import dataclass

from verydeep.results.result import Record, Result


@dataclass(frozen=True, eq=False, repr=False)
class Demonstration(Result):
    """A page that was served and is closed now."""

    address: str
    """The address at which the page was served, such as http://127.0.0.1:7860."""
    nets: tuple[str, ...]
    """Names of the nets and classifiers that the page offered."""

    def records(self) -> list[Record]:
        """Return one record for each net or classifier."""
        return [{"net": net, "address": self.address} for net in self.nets]

    def table(self) -> None:
        """Return None: the footer contains everything."""

    def footer(self) -> list[str]:
        """Return a sentence that the demonstration has ended."""
        return ["The demonstration has ended, and uploaded photographs are deleted."]
