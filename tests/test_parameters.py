"""Parameters of public functions: explained, checked, and the same for Python and the command line."""

import inspect
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Unpack, get_args

import numpy as np
import pytest

import verydeep as vd
from verydeep.cli import COMMANDS
from verydeep.engine.progress import LineProgress, progress_bar
from verydeep.errors import OptionError
from verydeep.parameters import REQUIRED, Option, Parameter, command, read_parameters


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


@pytest.mark.parametrize(
    ("args", "values", "parameter", "message"),
    [
        (["x"], {"tops": 3}, "tops", "`vd.count` has no parameter `tops`: did you mean `top`?"),
        (["x"], {"topk": 3}, "topk", "`vd.count` has no parameter `topk`: did you mean `top`?"),
        (
            ["x"],
            {"num_workers": 3},
            "num_workers",
            "`vd.count` has no parameter `num_workers`: did you mean `workers`?",
        ),
        (
            ["x"],
            {"zzz": 3},
            "zzz",
            "`vd.count` has no parameter `zzz`: it takes data, top, view, workers, progress.",
        ),
        ([], {"top": 3}, "data", "`vd.count` needs `data`: help(vd.count) explains it."),
        (["x"], {"data": "y"}, "data", "`data` is given twice, first without its name: leave out one of them."),
        (
            ["x", 3],
            {},
            None,
            "`vd.count` takes data without names, but 2 values were given: name the others, as in `progress=...`.",
        ),
        ([None], {}, "data", "`data=None` is not a path."),
        ([3], {}, "data", "`data=3` is not a path."),
        ([np.zeros(3)], {}, "data", "`data` is of type ndarray, not a path."),
        (["x"], {"top": None}, "top", "`top=None` is not a whole number."),
        (["x"], {"top": True}, "top", "`top=True` is not a whole number."),
        (["x"], {"view": ["dense"]}, "view", "`view=['dense']` is unknown: choose dense or crops."),
        (["x"], {"view": np.zeros(3)}, "view", "`view=[0. 0. 0.]` is unknown: choose dense or crops."),
        (["x"], {"progress": "no"}, "progress", "`progress='no'` is not True or False."),
    ],
)
def test_wrong_arguments_are_named(
    args: list[Any], values: dict[str, Any], parameter: str | None, message: str
) -> None:
    with pytest.raises(OptionError) as caught:
        count(*args, **values)
    assert (str(caught.value), caught.value.parameter) == (message, parameter)


class Thing:
    """A value of no kind that any parameter takes."""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_public_function_refuses_wrong_names_and_values(name: str, tmp_path: Path) -> None:
    """Before anything is read or written, and with the name of the parameter."""
    function, parameters = COMMANDS[name], read_parameters(COMMANDS[name])
    required = {each.name: (*get_args(each.type), "x")[0] for each in parameters if each.default is REQUIRED}
    required = {key: value if isinstance(value, str) else "x" for key, value in required.items()}
    last = parameters[-1].name
    with pytest.raises(OptionError, match=rf"`vd\.{name}` has no parameter `{last}s`: did you mean `{last}`\?"):
        function(**required, **{f"{last}s": False})
    for parameter in parameters:
        values: list[object] = [Thing(), b"x", {"x": 1}] if parameter.name not in ("images",) else []
        is_list = parameter.kind is not None and parameter.kind.is_list
        for value in values + ([] if is_list else [["x", "y"], ("x",)]):
            with pytest.raises(OptionError) as caught:
                function(**(required | {parameter.name: value}))
            assert caught.value.parameter == parameter.name, str(caught.value)
            assert str(caught.value).startswith(f"`{parameter.name}"), str(caught.value)


def test_a_net_in_the_place_of_data_is_refused_with_advice() -> None:
    net = Thing()
    net.class_names = ("cat",)  # type: ignore[attr-defined]
    with pytest.raises(OptionError, match=r"`data` is of type Thing, not a path: give values by name, as in `data=..."):
        vd.evaluate(net, "flowers")  # type: ignore[arg-type]


def test_iterators_and_arrays_are_lists() -> None:
    (scales,) = [each for each in read_parameters(COMMANDS["predict"]) if each.name == "scales"]
    assert scales.kind is not None
    values: list[Any] = [iter((256, 384)), (each for each in (256, 384)), np.array([256, 384])]
    assert [scales.kind.collect(value) for value in values] == [[256, 384]] * 3
    assert scales.kind.collect("256") == "256" and scales.kind.collect(256) == 256
    (images,) = [each for each in read_parameters(COMMANDS["predict"]) if each.name == "images"]
    assert images.kind is not None and images.kind.collect(iter("ab")) == ["a", "b"]


def test_other_public_functions_name_wrong_arguments_too() -> None:
    with pytest.raises(OptionError, match=r"`vd\.load` has no parameter `weight`: did you mean `weights`\?"):
        vd.load("runs/x", weight="best")  # type: ignore[call-arg]
    with pytest.raises(OptionError, match=r"`source=3` is not a net: give a path, a name, or what `load` returns\."):
        vd.load(3)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"`weights=first` is unknown: choose last or best\."):
        vd.load("runs/x", "first")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"`vd\.initialize` needs `model`"):
        vd.initialize()  # type: ignore[call-arg]


@pytest.mark.parametrize("value", ["256,384", 256, 256.0, (256, 384), ["256", 384], np.float64(3), range(3)])
def test_numbers_are_texts_numbers_or_lists(value: object) -> None:
    (scales,) = [each for each in read_parameters(COMMANDS["predict"]) if each.name == "scales"]
    scales.check(value)


@pytest.mark.parametrize("value", [True, 3j, [True], [None], {256: 384}])
def test_other_values_are_no_numbers(value: object) -> None:
    (scales,) = [each for each in read_parameters(COMMANDS["predict"]) if each.name == "scales"]
    with pytest.raises(OptionError, match="a number, a list of numbers or a text"):
        scales.check(value)


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
