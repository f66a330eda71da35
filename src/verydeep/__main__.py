"""``python -m verydeep``: the command line, also as one of several processes."""

import traceback
from typing import NoReturn

from verydeep.cli import main
from verydeep.engine.launching import end_process, in_group


def run_in_group() -> NoReturn:
    """Run one command as one of several processes, and end this process."""
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
    if in_group():
        run_in_group()
    main()
