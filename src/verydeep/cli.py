"""The command line: ``verydeep COMMAND``. The signature of a public function is the help of its command."""

import importlib.metadata
import inspect
import io
import logging
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn, TypedDict, get_args, get_origin

import tyro

from verydeep.commands.convert import convert
from verydeep.commands.describe import describe
from verydeep.commands.evaluate import evaluate
from verydeep.commands.export import export
from verydeep.commands.features import features
from verydeep.commands.localize import localize
from verydeep.commands.predict import predict
from verydeep.commands.prepare import prepare
from verydeep.commands.push import push
from verydeep.commands.reproduce import reproduce
from verydeep.commands.search import search
from verydeep.commands.train import train
from verydeep.commands.transfer import transfer
from verydeep.commands.verify import verify
from verydeep.engine.launching import in_group, is_main, launch
from verydeep.engine.process import own_process
from verydeep.errors import OtherProcessError, VerydeepError
from verydeep.options import DevicesOption, FormatOption
from verydeep.parameters import REQUIRED, Parameter, read_parameters
from verydeep.results.result import Format, Result, print_result

COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "localize": localize,
    "describe": describe,
    "transfer": transfer,
    "features": features,
    "search": search,
    "reproduce": reproduce,
    "convert": convert,
    "export": export,
    "push": push,
    "prepare": prepare,
    "verify": verify,
}

SHARED = ("train", "evaluate", "transfer", "features", "reproduce")
"""Commands whose work several processes can share."""

CACHED = {
    "transfer": "the descriptors",
    "features": "the descriptors",
    "evaluate": "the posteriors",
    "reproduce": "runs and posteriors",
}
"""Results that a stopped command has saved and does not compute again."""

HEADINGS = ("usual", "training", "box", "decoding", "compute", "output")
"""Order of the groups of options in the help."""

TURN_SECONDS = 3

VERSION = "--version"

DESCRIPTION = """Very deep convolutional networks (Simonyan and Zisserman, arXiv 1409.1556) on your own photographs.

Start with `verydeep train`: it makes a small set of pictures, trains a net on it and tests it, in about three minutes.
`verydeep --version` prints the version.
"""


@dataclass(frozen=True)
class Call:
    """A command as it was typed."""

    name: str
    arguments: dict[str, Any]
    """Arguments that were given, by parameter."""
    format: Format
    num_processes: int

    def run(self) -> None:
        """Run the command, here or in several processes, and print its result.

        Raises:
            SystemExit: The result is bad news, or one of several processes failed.
            VerydeepError: The command failed.
        """
        devices = next((option for option in read_options(self.name) if option.name == "devices"), None)
        if devices is not None:
            devices.check(self.num_processes)
        if self.num_processes > 1 and not in_group():
            launch(self.num_processes, sys.argv[1:])
            return
        with own_process(), print_messages("stdout" if self.format == "table" else "stderr"):
            result = COMMANDS[self.name](**self.arguments)
        if is_main():
            print_result(result, self.format, sys.stdout)
            assert isinstance(result, Result)
            for line in [] if self.format == "table" else result.footers():
                print(line, file=sys.stderr)
            if result.problem:
                fail(result.problem)


def main() -> None:
    """Run one command.

    Exit codes: 0; 1 for an error, which is printed as one sentence; 2 for wrong usage; 130 and 143 for signals.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may be no UTF-8; in JSON this is how they are escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.argv[1:] == [VERSION]:
        print(f"verydeep {importlib.metadata.version('verydeep')}")
        return
    try:
        call = parse(sys.argv[1:])
        if call is not None:
            call.run()
    except OtherProcessError as error:
        time.sleep(2 * TURN_SECONDS)
        fail(str(error))
    except VerydeepError as error:
        fail(str(error))
    except BrokenPipeError:  # as of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        fail(f"{error}: check that the path exists, may be used, and has room.")
    except KeyboardInterrupt:
        if is_main():
            cached = CACHED.get("".join(sys.argv[1:2]))
            saved = "" if cached is None else f"; {cached} so far are saved, and the same command continues from them"
            print(f"verydeep: stopped{saved}.", file=sys.stderr)
        sys.exit(130)


def parse(arguments: Sequence[str]) -> Call | None:
    """Read a command and its arguments.

    Raises:
        SystemExit: Help was printed (0), or the usage is wrong (2).
    """
    names = arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS
    parsers: dict[str, Callable[..., Any]] = {name: build_parser(name, brief=len(names) > 1) for name in names}
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    call: Call | None = tyro.extras.subcommand_cli_from_dict(
        parsers, prog="verydeep", description=DESCRIPTION, args=arguments, config=config
    )
    return call


def read_options(name: str) -> tuple[Parameter, ...]:
    """Return the parameters of a command's function, and the options that the command line adds."""
    own = read_parameters(COMMANDS[name])
    added = read_parameters(_added_options)
    has_format = any(parameter.name == "format" for parameter in own)  # export has another one
    return own + tuple(option for option in added if (name in SHARED if option.name == "devices" else not has_format))


def _added_options(*, devices: DevicesOption = 1, format: FormatOption = "table") -> None:  # noqa: A002
    """Declare the options that the command line adds to those of the functions."""


def build_parser(name: str, *, brief: bool) -> Callable[..., Call]:
    """Return a function whose signature tyro turns into options; it returns the call.

    Required parameters are parameters of that function, too. The others are those of a ``TypedDict`` for each heading,
    which holds what was given. ``brief`` is for the list of all commands.
    """
    signature: list[inspect.Parameter] = []
    groups: dict[str, list[Parameter]] = {heading: [] for heading in HEADINGS}

    def add(parameter: str, kind: Any, default: Any = REQUIRED) -> None:
        call.__annotations__[parameter] = kind
        signature.append(inspect.Parameter(parameter, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind))

    def call(**given: Any) -> Call:
        values = {key: value for key, value in given.items() if key not in groups}
        for heading in groups:
            values |= given.get(heading, {})
        devices = values.pop("devices", 1)
        output_format: Format = "table" if name == "export" else values.pop("format", "table")
        return Call(name, values, output_format, devices)

    for parameter in read_options(name):
        if parameter.default is REQUIRED:
            add(parameter.name, _explain(parameter))
        else:
            groups[parameter.option.heading].append(parameter)
    new_typed_dict: Any = TypedDict
    for heading, parameters in groups.items():
        if parameters:
            fields = {parameter.name: _explain(parameter) for parameter in parameters}
            flags = {parameter.name: parameter.default for parameter in parameters if parameter.type is bool}
            add(heading, new_typed_dict(heading, fields, total=False), flags)
    call.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    call.__doc__ = describe_command(name, brief=brief)
    return call


def describe_command(name: str, *, brief: bool) -> str:
    """Return the explanation of a command: its docstring as wide as the terminal, without what Python users need."""
    text = inspect.getdoc(inspect.unwrap(COMMANDS[name])) or ""
    paragraphs = name_options(re.split(r"\n\n(?:Args|Returns|Raises):\n", text)[0]).split("\n\n")
    if brief:
        return paragraphs[0].replace("\n", " ")
    width = min(100, shutil.get_terminal_size().columns)
    # tyro joins lines, except those that start with a space.
    return "\n\n".join(
        paragraph if paragraph.startswith("Try:") else textwrap.fill(paragraph, width, subsequent_indent=" ")
        for paragraph in paragraphs
    )


def _explain(parameter: Parameter) -> Any:
    """Return the type of a parameter with its help, for tyro."""
    option, choices = parameter.option, get_args(parameter.type) if get_origin(parameter.type) is Literal else ()
    metavar = option.metavar or "|".join(choices) or (parameter.name.upper() if parameter.is_positional else None)
    hint = name_options(f"(default: {parameter.default_text})") if parameter.default_text else ""
    markers = [tyro.conf.Positional] if parameter.is_positional else []
    explained = tyro.conf.arg(help=name_options(option.help), metavar=metavar, help_behavior_hint=hint)
    return Annotated[(parameter.type, explained, *markers)]


class _MessagePrinter(logging.Handler):
    """Prints the messages of the functions."""

    def __init__(self, stream: Literal["stdout", "stderr"]) -> None:
        super().__init__()
        self.stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        # A progress bar puts something else in the place of sys.stdout, so that its line stays the last one.
        print(name_options(record.getMessage()), file=getattr(sys, self.stream), flush=True)


@contextmanager
def print_messages(stream: Literal["stdout", "stderr"]) -> Iterator[None]:
    """Print the messages of the logger "verydeep"."""
    logger, handler = logging.getLogger("verydeep"), _MessagePrinter(stream)
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


def name_options(text: str) -> str:
    """Turn parameters in backticks into options: `init_from` into --init-from, `top=3` into --top 3."""
    return re.sub(r"`([a-z][a-z0-9_]*)(?:=([^`]+))?`", _option_name, text)


def _option_name(match: re.Match[str]) -> str:
    """Return the option of a parameter, or the text as it stands where there is none."""
    name, value = match.groups()
    known = {parameter.name: parameter for command in COMMANDS for parameter in read_options(command)}
    if name not in known:
        return match[0]
    option = known[name].option.metavar.split()[0] if known[name].is_positional else f"--{name.replace('_', '-')}"
    if value in ("True", "False"):
        return option if value == "True" else option.replace("--", "--no-")
    if value is None:
        return option
    return f"{option} {value}" if " " not in value else f'{option} "{value}"'


def fail(message: str) -> NoReturn:
    """Print an error and exit.

    The main process prints an error that all processes find, because the others wait and torchrun ends them before
    their turn. An error of one process alone is printed by it; those that end because of it wait longer.
    """
    if not is_main():
        time.sleep(TURN_SECONDS)
    print(f"verydeep: {name_options(message)}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
