"""The command line: ``verydeep COMMAND``. The signature of a command is its help."""

import importlib.metadata
import io
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import tyro

from verydeep.commands.convert import convert
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
from verydeep.engine.launching import is_main
from verydeep.engine.process import own_process
from verydeep.errors import OtherProcessError, VerydeepError

COMMANDS: dict[str, Callable[..., None]] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "localize": localize,
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

KEPT = {
    "transfer": "the descriptors",
    "features": "the descriptors",
    "evaluate": "the posteriors",
    "reproduce": "runs and posteriors",
}
"""What a command that is stopped has left, and does not compute again."""

TURN_SECONDS = 3

VERSION = "--version"
"""What one asks before anything else; no command has such an option."""

DESCRIPTION = """Very deep convolutional networks (Simonyan and Zisserman, arXiv 1409.1556) on your own photographs.

Start with `verydeep train`: it makes a small set of pictures, trains a net on it and tests it, in about three minutes.
`verydeep --version` tells the version.
"""


def main() -> None:
    """Run one command. Exit codes: 0; 1 for an error told in one sentence; 2 for wrong usage; 130, 143 for signals."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may be no UTF-8; in JSON this is how they are escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.argv[1:] == [VERSION]:
        print(f"verydeep {importlib.metadata.version('verydeep')}")
        return
    computes = sys.argv[1:2] not in ([], ["prepare"], ["verify"], ["convert"], ["push"]) and "--help" not in sys.argv
    try:
        with own_process(computes=computes), printing_messages():
            tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="verydeep", description=DESCRIPTION)
    except OtherProcessError as error:
        time.sleep(2 * TURN_SECONDS)
        fail(str(error))
    except VerydeepError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error}: check that the path exists, may be used, and has room.")
    except KeyboardInterrupt:
        if is_main():  # of several processes one speaks
            kept = KEPT.get("".join(sys.argv[1:2]))
            goes_on = "" if kept is None else f"; {kept} so far are kept, and the same command goes on from them"
            print(f"verydeep: stopped{goes_on}.", file=sys.stderr)
        sys.exit(130)


class _MessagePrinter(logging.Handler):
    """Prints what the functions report, on standard output."""

    def emit(self, record: logging.LogRecord) -> None:
        print(name_options(record.getMessage()), flush=True)


@contextmanager
def printing_messages() -> Iterator[None]:
    """Print the messages of the logger "verydeep"."""
    logger, handler = logging.getLogger("verydeep"), _MessagePrinter()
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


def _option_name(parameter: re.Match[str]) -> str:
    name, value = parameter[1].replace("_", "-"), parameter[2]
    if value in ("True", "False"):
        return f"--{name}" if value == "True" else f"--no-{name}"
    if value is None:
        return f"--{name}"
    return f"--{name} {value}" if " " not in value else f'--{name} "{value}"'


def fail(words: str) -> NoReturn:
    """Say what is wrong, and end.

    What all processes of a job find wrong the main one says: the others wait, and torchrun ends them before their turn.
    What one alone finds wrong it says, and those that end with it wait longer.
    """
    if not is_main():
        time.sleep(TURN_SECONDS)
    print(f"verydeep: {name_options(words)}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
