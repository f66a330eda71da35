"""`verydeep report`: one page about runs, which a browser opens offline."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from verydeep.errors import OptionError
from verydeep.options import ComputeOptions, DataSource, NetSources, PathSource, several, start_runtime
from verydeep.parameters import Option, command
from verydeep.paths import real_path

if TYPE_CHECKING:
    from verydeep.results.report import ReportPage


@command
def report(
    runs: Annotated[NetSources, Option("Folders written by train, transfer or evaluate.", metavar="RUN")],
    *,
    data: Annotated[DataSource | None, Option("Folder of the photographs, if it has moved.", "", "DIR")] = None,
    out: Annotated[PathSource | None, Option("File of the page.", "report.html in RUN", "FILE")] = None,
    maps: Annotated[int, Option("Photographs with score maps, per evaluation.", metavar="N", smallest=0)] = 48,
    **options: Unpack[ComputeOptions],
) -> "ReportPage":
    """Write a page about a run: errors, curves, classes, and the worst mistakes.

    The page is one file that a browser opens without an internet connection. It contains small copies of the
    photographs. A page about several runs shows their curves in one plot, the differences between their errors, and
    the photographs on which they disagree; it is written next to the first run. `verydeep train`, `evaluate` and
    `transfer` write the page of their own run.

    Try:
        verydeep report runs/photos-A-256-c64-s0
        verydeep report runs/photos-A-256-c64-s0 runs/photos-D-256-c64-s0 --out compared.html

    Raises:
        DataError: A folder holds no run, a file in it is damaged, or there is no folder `data`.
        OptionError: A run is missing or named twice, or the page would replace another file.
        ResourceError: The page cannot be written.
    """
    from verydeep.data.layout import check_folder
    from verydeep.engine.datasets import data_folder
    from verydeep.engine.nets.net import net_path
    from verydeep.engine.report_page.page import write_report_page
    from verydeep.results.report import ReportPage

    folders = [net_path(run) for run in several(runs)]
    check_runs(folders)
    path = default_page(folders) if out is None else name_page(Path(out))
    roots = [] if data is None else [data_folder(os.fspath(data))]
    for root in roots:
        check_folder(root)
    if maps:
        with start_runtime(options) as runtime:
            written = write_report_page(folders, path, roots, runtime, maps)
    else:
        written = write_report_page(folders, path, roots)
    return ReportPage(
        path=written.path,
        runs=tuple(folders),
        num_photographs=written.num_photographs,
        num_thumbnails=written.num_thumbnails,
        sentences=written.summary,
        remarks=written.sentences,
    )


def name_page(path: Path) -> Path:
    """Return the file of a page, with the ending by which browsers know it."""
    is_named = path.suffix.lower() in (".html", ".htm") or path.exists()
    return path if is_named else path.with_name(f"{path.name}.html")


def check_runs(folders: Sequence[Path]) -> None:
    """Refuse no run, a run that is named twice, and two runs of one name, which the page could not tell apart.

    Raises:
        OptionError: It is so.
    """
    if not folders:
        raise OptionError("`runs` is missing: give the folder of a run.", "runs")
    if len({real_path(folder) for folder in folders}) < len(folders):
        raise OptionError("A run is named twice: name each once.", "runs")
    names = [real_path(folder).name for folder in folders]
    if same := next((name for name in names if names.count(name) > 1), None):
        raise OptionError(f"Two runs are called {same}: rename the folder of one.", "runs")


def default_page(folders: Sequence[Path]) -> Path:
    """Return the file of the page: in the run, or for several runs in the folder of the first, with their names."""
    from verydeep.engine.report_page.page import PAGE
    from verydeep.paths import shorten_name

    if len(folders) == 1:
        return folders[0] / PAGE
    names = "+".join(real_path(folder).name for folder in folders)
    return real_path(folders[0]).parent / f"{shorten_name(f'report-{names}')}.html"
