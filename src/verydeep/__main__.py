"""The script ``verydeep`` and ``python -m verydeep``: the command line, also as one of several processes."""

import signal
import traceback
from typing import NoReturn


def start() -> None:
    """Run the command line in a process of its own.

    A signal ends the process without a traceback while the command line is imported, and after it has ended, too.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    from verydeep.cli import main  # noqa: PLC0415 - takes a while, in which a signal may come
    from verydeep.engine.launching import end_with_parent, in_group  # noqa: PLC0415 - as above

    if in_group():
        end_with_parent()
        run_in_group()
    main()


def run_in_group() -> NoReturn:
    """Run one command as one of several processes, and end this process."""
    from verydeep.cli import main  # noqa: PLC0415 - imported before
    from verydeep.engine.launching import end_process  # noqa: PLC0415 - imported before

    code = 1
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    except BaseException:
        traceback.print_exc()
    end_process(code)


if __name__ == "__main__":
    start()
