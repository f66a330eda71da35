"""Arguments of the command line: the signatures of the public functions become options, by tyro."""

import inspect
import io
import re
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, get_args, get_origin

import tyro

from verydeep.options import DevicesOption, FormatOption
from verydeep.parameters import REQUIRED, Parameter, read_parameters
from verydeep.results.result import Format
from verydeep.usage import check_command, describe_positional, order_arguments, refuse_usage
from verydeep.wording import join_choices

Commands = Mapping[str, Callable[..., Any]]

HEADINGS = ("usual", "training", "box", "decoding", "compute", "output")
"""Order of the groups of options in the help."""

SHARED = ("train", "evaluate", "transfer", "features", "reproduce")
"""Commands whose work several processes can share."""


_NO_FILES = "    return completions\n\n\ndef main"
_FILES = """\
    is_file = current_spec is not root_spec and not current_word.startswith('-')
    return ['__TYRO_COMPLETE_FILES__'] if is_file else completions


def main"""
SHELLS = {
    "bash": {
        _NO_FILES: _FILES,
        'compgen -f -- "$cur"': 'compgen -f -- "${COMP_WORDS[COMP_CWORD]}"',
        "complete -F": "complete -o filenames -F",
    },
    "fish": {"complete --no-files": "complete"},
    "zsh": {_NO_FILES: _FILES},
}
"""Shell -> changes of tyro's script, which completes no files where an argument has no option's name."""


@dataclass(frozen=True)
class Call:
    """A command as it was typed."""

    name: str
    arguments: dict[str, Any]
    """Arguments that were given, by parameter."""
    format: Format
    num_processes: int


def parse(arguments: Sequence[str], commands: Commands, description: str) -> Call:
    """Read a command and its arguments.

    Raises:
        SystemExit: Help was printed (0), or the usage is wrong (2).
        OptionError: The number of processes is out of range.
    """
    check_command(arguments, list(commands))
    names = arguments[:1] if arguments[0] in commands else commands
    if arguments[0] in commands:
        arguments = [arguments[0], *order_arguments(arguments[0], arguments[1:], read_options(arguments[0], commands))]
    call = _run_tyro(arguments, list(names), commands, description)
    _DEVICES.check(call.num_processes)
    return call


def completion_script(shell: str, commands: Commands, description: str) -> str:
    """Return a script by which a shell completes commands, options and files.

    Raises:
        SystemExit: There is no such shell (2).
    """
    if shell not in SHELLS:
        refuse_usage(f"--completion is for {join_choices(list(SHELLS))}, as in: verydeep --completion bash")
    with redirect_stdout(io.StringIO()) as printed, suppress(SystemExit):
        _run_tyro(["--tyro-print-completion", shell], list(commands), commands, description)
    script = printed.getvalue()
    for old, new in SHELLS[shell].items():
        assert old in script, "tyro has changed its script"
        script = script.replace(old, new)
    return script


def _run_tyro(arguments: Sequence[str], names: Sequence[str], commands: Commands, description: str) -> Call:
    """Read arguments by tyro; ``names`` are the commands that it has to know."""
    parsers = {name: _build_parser(name, commands, brief=len(names) > 1) for name in names}
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    call: Call = tyro.extras.subcommand_cli_from_dict(
        parsers, prog="verydeep", description=description, args=arguments, config=config
    )
    return call


def _added_options(*, devices: DevicesOption = 1, format: FormatOption = "table") -> None:  # noqa: A002
    """Declare the options that the command line adds to those of the functions."""


_DEVICES, _FORMAT = read_parameters(_added_options)


def read_options(name: str, commands: Commands) -> list[Parameter]:
    """Return the parameters of a command's function, and the options that the command line adds."""
    options = list(read_parameters(commands[name]))
    has_format = any(option.name == "format" for option in options)  # export has another one
    return options + [_DEVICES] * (name in SHARED) + [_FORMAT] * (not has_format)


def _build_parser(name: str, commands: Commands, *, brief: bool) -> Callable[..., Call]:
    """Return a function whose signature tyro turns into options; it returns the call.

    Required parameters are parameters of that function, too. The others are those of a ``TypedDict`` for each heading,
    which holds what was given. ``brief`` is for the list of all commands.
    """
    options = read_options(name, commands)
    signature: list[inspect.Parameter] = []

    def add(parameter: str, kind: Any, default: Any = REQUIRED) -> None:
        call.__annotations__[parameter] = kind
        signature.append(inspect.Parameter(parameter, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind))

    def call(**given: Any) -> Call:
        values = {key: value for key, value in given.items() if key not in HEADINGS}
        for heading in HEADINGS:
            values |= given.get(heading, {})
        devices = values.pop("devices", 1)
        output_format: Format = values.pop("format", "table") if _FORMAT in options else "table"
        return Call(name, values, output_format, devices)

    def explain(parameter: Parameter) -> Any:
        return _explain(parameter, lambda text: name_options(text, name, commands))

    for option in options:
        if option.default is REQUIRED:
            add(option.name, explain(option))
    new_typed_dict: Any = TypedDict
    for heading in HEADINGS:
        group = [each for each in options if each.option.heading == heading and each.default is not REQUIRED]
        if group:
            flags = {option.name: option.default for option in group if option.type is bool}
            fields = {option.name: explain(option) for option in group}
            add(heading, new_typed_dict(heading, fields, total=False), flags)
    call.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    call.__doc__ = _describe_command(name, commands, brief=brief)
    return call


def _describe_command(name: str, commands: Commands, *, brief: bool) -> str:
    """Return the explanation of a command: its docstring as wide as the terminal, without what Python users need."""
    text = inspect.getdoc(inspect.unwrap(commands[name])) or ""
    text = re.split(r"\n\n(?:Args|Returns|Raises):\n", text)[0]
    paragraphs = name_options(text, name, commands).split("\n\n")
    if brief:
        return paragraphs[0].replace("\n", " ")
    width = min(100, shutil.get_terminal_size().columns)
    # tyro joins lines, except those that start with a space.
    return "\n\n".join(
        paragraph
        if paragraph.startswith("Try:")
        else textwrap.fill(paragraph, width, subsequent_indent=" ", break_on_hyphens=False)
        for paragraph in paragraphs
    )


def _explain(parameter: Parameter, translate: Callable[[str], str]) -> Any:
    """Return the type of a parameter with its help, for tyro; ``translate`` changes the names of parameters."""
    option, choices = parameter.option, get_args(parameter.type) if get_origin(parameter.type) is Literal else ()
    is_negative = parameter.default is True  # then the option is --no-NAME
    default = f"(default: {parameter.default_text})" if parameter.default_text and not is_negative else ""
    explained = tyro.conf.arg(
        help=translate(option.negative_help if is_negative else option.help),
        metavar=describe_positional(parameter)
        if parameter.is_positional
        else option.metavar or "|".join(choices) or None,
        help_behavior_hint=translate(default),
    )
    markers = [tyro.conf.Positional] if parameter.is_positional else []
    return Annotated[(parameter.type, explained, *markers)]


def name_options(text: str, command: str, commands: Commands) -> str:
    """Turn parameters in backticks into options: `init_from` into --init-from, `top=3` into --top 3.

    A text of one command may name options of others; those of ``command`` count first. The name of a command, as
    `train`, is no option, unless ``command`` has one of that name.
    """
    if "`" not in text:
        return text
    names = [*commands, *([command] if command in commands else [])]
    known = {option.name: option for name in names for option in read_options(name, commands)}
    own = {option.name for option in read_options(command, commands)} if command in commands else set()

    def name_option(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in known or (name in commands and name not in own and value is None):
            return match[0]
        option = f"--{name.replace('_', '-')}"
        if known[name].is_positional:
            option = (known[name].option.metavar or name.upper()).split()[0]
        if value in ("True", "False"):
            return option if value == "True" else option.replace("--", "--no-")
        if value is None:
            return option
        return f"{option} {value}" if " " not in value else f'{option} "{value}"'

    return re.sub(r"`([a-z][a-z0-9_]*)(?:=([^`]+))?`", name_option, text)
