"""The command line in a process that may reserve so many more megabytes: ``python -m tests.limited 100 train ...``.

All that a command imports is imported before, so that the limit holds for its work alone.
"""

import resource
import sys

import matplotlib.pyplot  # noqa: F401
import sklearn.svm  # noqa: F401
import torch

import verydeep.engine.archive.update
import verydeep.engine.load
import verydeep.engine.report_page.page
import verydeep.engine.training.extension
import verydeep.engine.training.run  # noqa: F401
from verydeep import cli
from verydeep.engine.process import reservable_bytes


def main() -> None:
    torch.set_num_threads(1)
    net = torch.nn.Conv2d(3, 4, 3)
    net(torch.zeros(1, 3, 9, 9)).sum().backward()  # PyTorch prepares itself
    megabytes, sys.argv = int(sys.argv[1]), ["verydeep", *sys.argv[2:]]
    unlimited = 1 << 60
    resource.setrlimit(resource.RLIMIT_AS, (unlimited, resource.RLIM_INFINITY))
    reserved = unlimited - (reservable_bytes() or 0)
    resource.setrlimit(resource.RLIMIT_AS, (reserved + (megabytes << 20), resource.RLIM_INFINITY))
    cli.main()


if __name__ == "__main__":
    main()
