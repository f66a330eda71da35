"""Plain sentences about wrong usage of the command line, found before tyro reads it."""

import difflib
import sys
from collections.abc import Sequence
from typing import NoReturn, get_args, get_origin

from verydeep.parameters import REQUIRED, Parameter
from verydeep.signatures import suggest_names
from verydeep.wording import join_choices


def check_command(arguments: Sequence[str], names: Sequence[str]) -> None:
    """Refuse arguments that begin with no command, with the name of the nearest one.

    Raises:
        SystemExit: The usage is wrong (2).
    """
    commands = f"The commands are {', '.join(names)}; `verydeep --help` explains them."
    if not arguments:
        refuse_usage(f"Give a command, such as `verydeep train`. {commands}")
    if arguments[0] not in (*names, "-h", "--help"):
        if near := difflib.get_close_matches(arguments[0], ("--help", "--version", "--completion"), n=1):
            refuse_usage(f"`verydeep` has no option {arguments[0]}: did you mean {near[0]}?")
        if arguments[0].startswith("-"):
            refuse_usage(f"The command stands before its options, and {arguments[0]} is an option. {commands}")
        near = difflib.get_close_matches(arguments[0].lower(), names, n=1)
        suggestion = f": did you mean {near[0]}?" if near else "."
        refuse_usage(f"There is no command {arguments[0]}{suggestion} {commands}")


def order_arguments(name: str, arguments: Sequence[str], options: Sequence[Parameter]) -> list[str]:
    """Check the arguments of a command, and put those without an option's name first.

    Returns:
        The arguments; options may stand among photographs.

    Raises:
        SystemExit: The usage is wrong (2).
    """
    if any(argument in ("-h", "--help", "--") for argument in arguments):
        return list(arguments)
    known = {_flag(option): option for option in options if not option.is_positional}
    values, flags, missing = list[str](), list[str](), set(known)
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "-" or not argument.startswith("-"):
            values.append(argument)
            continue
        typed, has_value, value = argument.partition("=")
        flag = f"--{typed[2:].replace('_', '-')}" if typed.startswith("--") else typed
        if flag not in known:
            _refuse_option(name, typed, known)
        missing.discard(flag)
        flags.append(argument)
        if known[flag].type is bool:
            continue
        if not has_value:
            if not rest or rest[0].startswith("--"):
                refuse_usage(f"{flag} needs a value. {_explain(known[flag])}")
            value = rest.pop(0)
            flags.append(value)
        _check_value(flag, value, known[flag])
    _check_positional(name, values, [option for option in options if option.is_positional])
    _check_required(name, [known[flag] for flag in sorted(missing)])
    return values + flags


def refuse_usage(message: str) -> NoReturn:
    """Print an error of usage and exit."""
    print(f"verydeep: {message}", file=sys.stderr)
    sys.exit(2)


def describe_positional(option: Parameter) -> str:
    """Return an argument without an option's name as a usage line shows it: [RUN ...] for none or several."""
    name, is_tuple = _name(option), get_origin(option.type) is tuple
    if option.default is REQUIRED:
        return f"{name} [{name} ...]" if is_tuple else name
    return f"[{name} ...]" if is_tuple else f"[{name}]"


def _flag(option: Parameter) -> str:
    return f"--{'no-' if option.default is True else ''}{option.name.replace('_', '-')}"


def _name(option: Parameter) -> str:
    """Return the name of a value in the help."""
    return option.option.metavar or "|".join(get_args(option.type)) or option.name.upper()


def _explain(option: Parameter) -> str:
    """Return "--epochs N: Up to N epochs." as in the help."""
    return f"{'' if option.is_positional else f'{_flag(option)} '}{_name(option)}: {option.option.help}"


def _refuse_option(name: str, typed: str, known: dict[str, Parameter]) -> NoReturn:
    names = {flag.removeprefix("--").replace("-", "_"): flag for flag in known}
    near = [names[each] for each in suggest_names(typed.lstrip("-"), names)]
    advice = (
        f"did you mean {f'{near[0]} {known[near[0]].option.metavar}'.rstrip()}?"
        if near
        else f"`verydeep {name} --help` lists them."
    )
    refuse_usage(f"`verydeep {name}` has no option {typed}: {advice}")


def _check_value(flag: str, value: str, option: Parameter) -> None:
    """Refuse a value that is no number where one is needed, or not among the choices."""
    choices = get_args(option.type)
    if choices and value not in choices:
        refuse_usage(f"{flag} {value} is unknown: choose {join_choices(choices)}.")
    if option.type in (int, float):
        try:
            option.type(value)
        except ValueError:
            kind = "whole number" if option.type is int else "number"
            refuse_usage(f"{flag} {value} is not a {kind}. {_explain(option)}")


def _check_required(name: str, missing: Sequence[Parameter]) -> None:
    """Refuse that a required option is missing."""
    for option in missing:
        if option.default is REQUIRED:
            choices = get_args(option.type)
            what = f"choose {join_choices(choices)}." if choices else _explain(option)
            refuse_usage(f"`verydeep {name}` needs {_flag(option)}: {what}")


def _check_positional(name: str, values: Sequence[str], options: Sequence[Parameter]) -> None:
    """Refuse too few or too many arguments, and those that are not among the choices."""
    names = " ".join(map(_name, options))
    for option, value in zip(options, values, strict=False):
        choices = get_args(option.type) if get_origin(option.type) is not tuple else ()
        if choices and value not in choices:
            refuse_usage(f"{value} is unknown to `verydeep {name}`: choose {join_choices(choices)}.")
    missing = [option for option in options[len(values) :] if option.default is REQUIRED]
    if any(get_origin(option.type) is not tuple for option in missing):
        usage = " ".join(["verydeep", name, *values, *map(describe_positional, options[len(values) :])])
        verb = "is" if len(missing) == 1 else "are"
        refuse_usage(f"{' and '.join(map(_name, missing))} {verb} missing: `{usage}`. {_explain(missing[0])}")
    if len(values) > len(options) and get_origin(options[-1].type) is not tuple:
        extra = " ".join(values[len(options) :])
        refuse_usage(f"`verydeep {name}` takes {names} and nothing else: leave out {extra}.")
