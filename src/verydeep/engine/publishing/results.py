"""What evaluations of a net found, read from the folders that they left."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verydeep.engine.nets.digests import digest_of_folder
from verydeep.errors import VerydeepError
from verydeep.files import read_json
from verydeep.ops.metrics import Share

LEFT_OUT = ("The posteriors were not kept", "Not converged:")
"""Notes of no interest elsewhere, or that stand in the net's config.json."""


@dataclass(frozen=True)
class Result:
    """The protocol of one evaluation, the last row of its table."""

    data: str
    """The folder's name."""
    split: str
    num_images: int
    protocol: str
    """In words: "dense, Q=256,384,512"."""
    errors: dict[str, Share]
    notes: tuple[str, ...]
    """What must be known before the figures are quoted."""


def results_of(run: Path, folder: Path) -> list[Result]:
    """The evaluations of a single net, by folder name.

    Args:
        run: as the command line names the net: a folder, a weight file, a published name.
        folder: its model folder, in a run, or by itself.

    Raises:
        VerydeepError: an errors.json is damaged.
    """
    beside = (folder.parent, run) if run.is_dir() else (Path(),)
    places = dict.fromkeys((place / "evaluations").resolve() for place in beside)
    paths = [path for place in places for path in sorted(place.glob("*/errors.json"))]
    return [result for path in paths for result in read_result(path, folder)]


def read_result(path: Path, folder: Path) -> Iterator[Result]:
    """The evaluation in an errors.json, if it is of this net and of no other: paths may be another's by now.

    Raises:
        VerydeepError: the file is damaged.
    """
    values = read_json(path)
    try:
        if values.get("digests") == [digest_of_folder(folder)]:
            yield to_result(values)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise VerydeepError(
            f"{path} is not what verydeep evaluate writes ({error!r}): remove it, or evaluate again."
        ) from None


def to_result(values: dict[str, Any]) -> Result:
    """The last row, and what was noted."""
    row = values["rows"][-1]
    scales = ",".join(map(str, row["scales"]))
    notes = [note.replace(values["nets"][0], "this net") for note in values["notes"]]
    return Result(
        data=Path(values["data"]).name,
        split=values["split"],
        num_images=values["num_images"],
        protocol=f"{row.get('view') or row['view']}, Q={scales}, {values['precision']}",
        errors=class_errors(row["errors"]) if "errors" in row else box_errors(row),
        notes=tuple(note for note in notes if not note.startswith(LEFT_OUT)),
    )


def class_errors(errors: dict[str, Any]) -> dict[str, Share]:
    """Top-1 and top-k."""
    found = {"top-1 error": Share(**errors["top1"])}
    return found if errors["k"] == 1 else found | {f"top-{errors['k']} error": Share(**errors["topk"])}


def box_errors(row: dict[str, Any]) -> dict[str, Share]:
    """Of the true class's box, and of the boxes of guessed classes where some were."""
    found = {"error of the true class's box": Share(**row["truth"]["error"])}
    guesses = row["guesses"]
    return found if guesses is None else found | {"localization error": Share(**guesses["error"])}
