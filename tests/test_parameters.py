"""Parameters of public functions: explained, checked, and the same for Python and the command line."""

import inspect
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Unpack

import numpy as np
import pytest

from verydeep.engine.progress import LineProgress, progress_bar
from verydeep.errors import OptionError
from verydeep.parameters import Option, Parameter, command, read_parameters


class Keywords(TypedDict, total=False):
    workers: Annotated[int | None, Option("Processes.", "by the machine", smallest=0, value=None)]
    progress: Annotated[bool, Option("Show progress.", value=True)]


@command
def count(
    data: Annotated[Path, Option("A folder.")],
    *,
    top: Annotated[int, Option("Number of classes.", smallest=1, largest=5)] = 2,
    view: Annotated[Literal["dense", "crops"] | None, Option("The view.", "dense")] = None,
    **options: Unpack[Keywords],
) -> dict[str, Any]:
    """Count.

    More.

    Raises:
        ValueError: Never.
    """
    with progress_bar() as bar:
        return {"data": data, "top": top, "view": view, **options, "shown": isinstance(bar, LineProgress)}


def test_a_function_gets_all_its_keywords() -> None:
    assert count(Path("x")) == {
        "data": Path("x"), "top": 2, "view": None, "workers": None, "progress": True, "shown": True
    }  # fmt: skip
    assert count(data=Path("x"), workers=3, view="crops")["workers"] == 3


def test_progress_is_switched_off() -> None:
    assert not count(Path("x"), progress=False)["shown"]


@pytest.mark.parametrize(
    ("values", "parameter", "message"),
    [
        ({"top": "3"}, "top", "`top='3'` is not a whole number."),
        ({"top": 2.5}, "top", "`top=2.5` is not a whole number."),
        ({"top": 0}, "top", "`top=0` is out of range: give a number from 1 to 5."),
        ({"top": float("nan")}, "top", "`top=nan` is not a whole number."),
        ({"workers": -1}, "workers", "`workers=-1` is out of range: give 0 or more."),
        ({"view": "center"}, "view", "`view=center` is unknown: choose dense or crops."),
    ],
)
def test_values_are_checked(values: dict[str, Any], parameter: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        count(Path("x"), **values)
    assert (str(caught.value), caught.value.parameter) == (message, parameter)


def test_a_number_that_is_none_is_out_of_every_range() -> None:
    @command
    def halve(*, share: Annotated[float, Option("A share.", smallest=0, largest=1)] = 0.5) -> float:
        """Halve."""
        return share / 2

    assert halve(share=1) == halve(share=np.float32(1)) == 0.5
    with pytest.raises(OptionError, match=r"^`share=nan` is out of range: give a number from 0 to 1\.$"):
        halve(share=float("nan"))


def test_an_unknown_keyword_is_an_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'devise'"):
        count(Path("x"), devise="cpu")  # type: ignore[call-arg]


def test_python_help_shows_all_parameters() -> None:
    assert str(inspect.signature(count)).startswith(
        "(data: pathlib.Path, *, top: int = 2, view: Optional[Literal['dense', 'crops']] = None, "
        "workers: int | None = None, progress: bool = True)"
    )
    assert count.__doc__ == (
        "Count.\n\nMore.\n\nArgs:\n    data: A folder.\n    top: Number of classes. (default: 2)\n"
        "    view: The view. (default: dense)\n    workers: Processes. (default: by the machine)\n"
        "    progress: Show progress. (default: yes)\n\n"
        "Raises:\n    ValueError: Never."
    )


def test_parameters_know_their_type_without_none() -> None:
    parameters = read_parameters(count)
    assert [each.type for each in parameters] == [Path, int, Literal["dense", "crops"], int, bool]
    assert [each.is_positional for each in parameters] == [True, False, False, False, False]
    assert all(isinstance(each, Parameter) for each in parameters)
