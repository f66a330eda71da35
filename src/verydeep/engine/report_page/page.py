"""Write the report page of runs: one HTML file that needs no network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from verydeep.engine.log import Log
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.report_page.content import PageContent, choose_content, photograph_key
from verydeep.engine.report_page.maps import draw_score_maps
from verydeep.engine.report_page.photographs import interleave_photographs, make_thumbnails, order_photographs
from verydeep.engine.report_page.rendering import render
from verydeep.engine.report_page.stored_run import read_run
from verydeep.engine.runtime import Runtime
from verydeep.engine.transfer.classifier import is_classifier
from verydeep.errors import OptionError, VerydeepError
from verydeep.files import atomic_write_text

PAGE = "report.html"
EVALUATIONS = "evaluations"
"""Folder in that of a run."""
MAX_BYTES = 19_000_000
"""Largest size of the page."""
GENERATOR = "verydeep report"
"""The mark of our own pages, which may be replaced."""
HEAD_BYTES = 2000
NUM_MAPS = 48
"""Photographs of each evaluation that have score maps."""


@dataclass(frozen=True)
class WrittenPage:
    """A report page that was written."""

    path: Path
    num_photographs: int
    num_thumbnails: int
    summary: tuple[str, ...]
    sentences: tuple[str, ...]
    """What the page leaves out."""


def write_report_page(
    runs: Sequence[Path],
    path: Path,
    roots: Sequence[Path] = (),
    runtime: Runtime | None = None,
    num_maps: int = NUM_MAPS,
) -> WrittenPage:
    """Write the report page of runs.

    Args:
        runs: folders of runs, classifiers or evaluations.
        path: of the page; a page of ours is replaced.
        roots: folders where the photographs may be, if they have moved.
        runtime: of this process, which computes score maps; None: there are none.
        num_maps: photographs of each evaluation that have score maps.

    Raises:
        DataError: a folder holds no run, or a file is damaged.
        OptionError: ``path`` is another file.
        ResourceError: the page cannot be written.
    """
    check_page(path)
    content = choose_content([read_run(run) for run in runs], roots)
    if runtime is not None and num_maps > 0:
        content = add_maps(content, runtime, num_maps)
    content = add_thumbnails(content)
    text = render_page(content)
    with atomic_write_text(path) as file:
        file.write(text)
    sentences = [*content.omissions, *([content.photograph_sentence] if content.views else [])]
    if content.lost and roots:
        lost = next(view for view in content.views if view.place is None).evaluation.photographs[0].file
        sentences.append(f"{roots[0]} does not hold {lost!r}: `data` must be the folder in which that photograph is.")
    elif content.lost:
        sentences.append("Name the folder of the photographs, `data`, to see them on the page.")
    return WrittenPage(path, len(content.keys), len(content.thumbnails), tuple(content.summary), tuple(sentences))


def find_subject(evaluation: Path) -> Path:
    """Return the folder whose page shows an evaluation: the run or the classifier that it lies in, or itself."""
    run = evaluation.parent.parent
    is_inside = evaluation.parent.name == EVALUATIONS and (RunFolder(run).settings.exists() or is_classifier(run))
    return run if is_inside else evaluation


def write_page_of_job(folder: Path, runtime: Runtime, log: Log) -> Path | None:
    """Write the report page of a folder at the end of a job, whose results are safe: a problem is a message.

    Returns:
        The page; None if it could not be written.
    """
    try:
        return write_report_page([folder], folder / PAGE, runtime=runtime).path
    except (VerydeepError, OSError) as error:
        log.info(f"There is no report page: {error}")
        return None


def check_page(path: Path) -> None:
    """Refuse to replace a file that is no report page.

    Raises:
        OptionError: the file is another one, or a folder.
    """
    if path.is_dir():
        raise OptionError(f"`out` {path} is a folder: give the name of a file in it.", "out")
    if path.exists():
        with path.open("rb") as file:
            if GENERATOR.encode() not in file.read(HEAD_BYTES):
                raise OptionError(f"{path} exists and is no report page: choose another `out`, or remove it.", "out")


def add_maps(content: PageContent, runtime: Runtime, num_maps: int) -> PageContent:
    """Return the content with score maps of the first photographs of each evaluation, mistakes first."""
    runs = {run.name: run for run in content.all_runs}
    maps, problems = {}, list[str]()
    for number, view in enumerate(content.views):
        if view.place is not None:
            photographs = order_photographs(view.evaluation)[:num_maps]
            run = runs[view.evaluation.run]
            maps[number], problem = draw_score_maps(run, view.evaluation, view.place, photographs, runtime)
            problems += [problem] if problem else []
    return replace(content, maps=maps, omissions=(*content.omissions, *dict.fromkeys(problems)))


def add_thumbnails(content: PageContent) -> PageContent:
    """Return the content with thumbnails of as many photographs as the size of the page allows, mistakes first."""
    paths = dict[str, tuple[Path, bool]]()
    orders = [order_photographs(view.evaluation) for view in content.views]
    for number, photograph in interleave_photographs(orders):
        view = content.views[number]
        if view.place is not None:
            path = view.place.path(photograph.file)
            paths.setdefault(photograph_key(view, photograph), (path, view.place.camera_rotation))
    if not paths:
        return content
    room = MAX_BYTES - len(render_page(content).encode("utf-8", "backslashreplace"))
    return replace(content, thumbnails=make_thumbnails(paths, room))


def render_page(content: PageContent) -> str:
    """Return the page as text."""
    return render("report.html.jinja", content, GENERATOR, "report.js")
