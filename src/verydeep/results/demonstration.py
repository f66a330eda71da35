"""The result of `demo`: where the page was."""

from dataclasses import dataclass

from verydeep.results.result import Record, Result


@dataclass(frozen=True, eq=False, repr=False)
class Demonstration(Result):
    """A page that was served and is closed now."""

    address: str
    nets: tuple[str, ...]
    """Nets and classifiers that it showed."""

    def records(self) -> list[Record]:
        """Return one record for each net or classifier."""
        return [{"net": net, "address": self.address} for net in self.nets]

    def table(self) -> None:
        """Return no table: one sentence says it all."""

    def footer(self) -> list[str]:
        """Return how the demonstration ended."""
        return ["The demonstration has ended, and uploaded photographs are deleted."]
