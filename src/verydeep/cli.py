"""The command line: ``verydeep COMMAND``. The signature of a public function is the help of its command."""

import importlib.metadata
import io
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NoReturn, TextIO

from verydeep.arguments import Call, completion_script, name_options, parse
from verydeep.commands.convert import convert
from verydeep.commands.demo import demo
from verydeep.commands.describe import describe
from verydeep.commands.evaluate import evaluate
from verydeep.commands.explain import explain
from verydeep.commands.export import export
from verydeep.commands.features import features
from verydeep.commands.localize import localize
from verydeep.commands.predict import predict
from verydeep.commands.prepare import prepare
from verydeep.commands.push import push
from verydeep.commands.report import report
from verydeep.commands.reproduce import reproduce
from verydeep.commands.search import search
from verydeep.commands.train import train
from verydeep.commands.transfer import transfer
from verydeep.commands.verify import verify
from verydeep.disk import NO_ROOM, write_error
from verydeep.engine.launching import in_group, is_main, launch
from verydeep.engine.memory import explain_lack_of_files, explain_lack_of_memory
from verydeep.engine.process import Terminated, interrupted_by_signals, own_process
from verydeep.errors import OtherProcessError, VerydeepError
from verydeep.results.result import Result, print_result
from verydeep.wording import escape_controls

COMMANDS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *(train, evaluate, report, predict, explain, localize, describe, transfer, features, search),
        *(reproduce, convert, export, push, prepare, verify, demo),
    )
}

CACHED = {
    "transfer": "the descriptors",
    "features": "the descriptors",
    "evaluate": "the posteriors",
    "reproduce": "runs and posteriors",
}
"""Results that a stopped command has saved and does not compute again."""

TURN_SECONDS = 10
"""Time that torchrun has to end the other processes after one has failed."""

SHOW_CURSOR = "\x1b[?25h"
"""A progress bar hides the cursor of a terminal."""

VERSION = "--version"
COMPLETION = "--completion"

DESCRIPTION = """Train, test and use the VGG networks (Simonyan and Zisserman, arXiv 1409.1556) on your own photographs.

Start with `verydeep train`: it makes a small set of pictures, trains a net on it and tests it, in about three minutes.
`verydeep --version` prints the version, and what the CPU engine supports on this machine.
`verydeep --completion bash` (or fish, zsh) prints a script that completes commands, options and file names.
"""


def main() -> None:
    """Run one command.

    Exit codes: 0; 1 for an error, which is printed as one sentence; 2 for wrong usage; 130 and 143 for signals.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may not be UTF-8; in JSON this is how they are escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with interrupted_by_signals():
            run_and_report()
    except KeyboardInterrupt as stop:
        if sys.stderr.isatty():
            sys.stderr.write(SHOW_CURSOR)
        is_ended_by_launcher = in_group() and isinstance(stop, Terminated)  # which knows and reports the reason
        if is_main() and not is_ended_by_launcher:
            cached = CACHED.get("".join(sys.argv[1:2]))
            saved = "" if cached is None else f"; the same command continues from {cached} that are saved"
            print(f"verydeep: stopped{saved}.", file=sys.stderr)
        sys.exit(128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT))


def run_and_report() -> None:
    """Run the command that was typed; an error that a user can fix becomes one sentence and exit code 1."""
    try:
        try:
            run_words(sys.argv[1:])
        finally:
            sys.stdout.flush()  # else a reader that has left is an error that Python prints at its end
    except OtherProcessError as error:
        time.sleep(2 * TURN_SECONDS)
        fail(str(error))
    except VerydeepError as error:
        fail(str(error))
    except BrokenPipeError:  # as of `| head`
        discard(sys.stdout)
        discard(sys.stderr)
        sys.exit(1)
    except PermissionError as error:
        fail(f"{error.filename} may not be read or written: change its permissions, or choose another place.")
    except (OSError, RuntimeError, MemoryError, ImportError) as error:
        if failure := explain_lack_of_files(error) or explain_lack_of_memory(error, "this process"):
            fail(str(failure))
        if not isinstance(error, OSError):
            raise
        if error.errno in NO_ROOM:
            discard(sys.stdout)  # else Python tries once more at its end
            fail(str(write_error(error.filename or "The standard output", error)))
        fail(f"{error}: check that the path exists, may be used, and has room.")


def discard(stream: TextIO) -> None:
    """Send what is still to be printed nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def run_words(arguments: list[str]) -> None:
    """Run a command, or print the version or a completion script."""
    if arguments == [VERSION]:
        print_version()
    elif arguments[:1] == [COMPLETION]:
        print(completion_script(" ".join(arguments[1:]), COMMANDS, DESCRIPTION))
    else:
        run(parse(arguments, COMMANDS, DESCRIPTION))


def print_version() -> None:
    """Print the version, and what the CPU engine can do here."""
    from verydeep.models.cpu_engine import describe_engine  # noqa: PLC0415 - PyTorch takes a second

    print(f"verydeep {importlib.metadata.version('verydeep')}\n{describe_engine()}")


def run(call: Call) -> None:
    """Run a command, here or in several processes, and print its result.

    Raises:
        SystemExit: The result is bad news, or one of several processes failed.
        VerydeepError: The command failed.
    """
    if call.num_processes > 1 and not in_group():
        launch(call.num_processes, sys.argv[1:])
        return
    with own_process(), print_messages("stdout" if call.format == "table" else "stderr"):
        result: Result = COMMANDS[call.name](**call.arguments)
    if is_main():
        print_result(result, call.format, sys.stdout, translate=translate)
        for line in [] if call.format == "table" else [*result.summary.splitlines(), *result.footers()]:
            print(escape_controls(translate(line)), file=sys.stderr)
        if result.problem:
            fail(result.problem)


class _MessagePrinter(logging.Handler):
    """Prints the messages of the functions."""

    def __init__(self, stream: Literal["stdout", "stderr"]) -> None:
        super().__init__()
        self.stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        # A progress bar puts something else in the place of sys.stdout, so that its line stays the last one.
        print(translate(record.getMessage()), file=getattr(sys, self.stream), flush=True)


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


def translate(text: str) -> str:
    """Turn the parameters in a text into options of the command that was typed."""
    return name_options(text, "".join(sys.argv[1:2]), COMMANDS)


def fail(message: str) -> NoReturn:
    """Print an error and exit.

    The main process prints an error that all processes find, because the others wait and torchrun ends them before
    their turn. An error of one process alone is printed by it; those that end because of it wait longer.
    """
    if not is_main():
        time.sleep(TURN_SECONDS)
    print(f"verydeep: {translate(message)}", file=sys.stderr)
    sys.exit(1)
