"""Write the page of `verify`: what was found in the files and photographs of a data set, with thumbnails."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from verydeep.engine.report_page.page import MAX_BYTES
from verydeep.engine.report_page.photographs import Thumbnail, make_thumbnails
from verydeep.engine.report_page.rendering import render
from verydeep.errors import OptionError
from verydeep.files import CsvLines, atomic_write_text, check_output_folder
from verydeep.paths import real_path
from verydeep.results.result import print_result
from verydeep.results.verified_data import Finding, VerifiedData, describe_classes, describe_findings
from verydeep.wording import count_of

PAGE, FINDINGS, GROUPS = OUTPUTS = ("verify.html", "findings.csv", "groups.csv")
GENERATOR = "verydeep verify"

MAX_CARDS = 500
"""Photographs that a section of the page shows."""


@dataclass(frozen=True)
class Section:
    """Findings of one kind."""

    title: str
    anchor: str
    sentence: str
    findings: tuple[Finding, ...]
    num_omitted: int
    """Findings that the page leaves out."""

    @property
    def is_grouped(self) -> bool:
        """Whether the findings are groups of photographs."""
        return self.findings[0].group is not None


@dataclass(frozen=True)
class FindingsPage:
    """Content of the page."""

    title: str
    date: str
    version: str
    summary: str
    tiles: tuple[tuple[str, str], ...]
    bad_files: tuple[tuple[str, str], ...]
    num_bad_files: int
    """All of them, of which ``bad_files`` are the first."""
    sections: tuple[Section, ...]
    short_sides: tuple[tuple[str, int], ...]
    classes: tuple[tuple[str, int], ...]
    class_sentence: str
    notes: tuple[str, ...]
    thumbnails: Mapping[str, Thumbnail]


def check_findings_folder(folder: Path, root: Path) -> None:
    """Refuse a folder for the page that lies among the photographs, or holds something else.

    Raises:
        OptionError: it does.
    """
    if real_path(folder).is_relative_to(real_path(root)):
        raise OptionError(f"`out={folder}` is inside of the data set {root}: choose a folder outside of it.", "out")
    check_output_folder(folder, OUTPUTS.__contains__, "findings of `verydeep verify`")


def write_findings(verified: VerifiedData, files: Sequence[str], folder: Path, *, camera_rotation: bool) -> Path:
    """Write the page, all findings as a table, and the groups of near-duplicates for ``group_by``.

    Args:
        verified: what was found.
        files: all files of the data set, relative to its folder.
        folder: for the files; earlier ones are replaced.
        camera_rotation: whether the rotation noted in EXIF is applied.

    Returns:
        The page.

    Raises:
        ResourceError: a file cannot be written.
    """
    content = choose_content(verified)
    shown = dict.fromkeys(file for section in content.sections for each in section.findings for file in each.files)
    paths = {file: (verified.folder / file, camera_rotation) for file in shown}
    if paths:
        room = MAX_BYTES - len(_render(content).encode("utf-8", "backslashreplace"))
        content = replace(content, thumbnails=make_thumbnails(paths, room))
    with atomic_write_text(folder / FINDINGS) as file:
        print_result(verified, "csv", file)
    group_of = {name: each.group for each in verified.findings if each.group is not None for name in each.files}
    with atomic_write_text(folder / GROUPS) as file:
        rows = ((name, "" if name not in group_of else f"group {group_of[name]}") for name in dict.fromkeys(files))
        csv.writer(CsvLines(file)).writerows([("path", "group"), *rows])
    with atomic_write_text(folder / PAGE) as file:
        file.write(_render(content))
    return folder / PAGE


def choose_content(verified: VerifiedData) -> FindingsPage:
    """Return the content of the page, still without thumbnails."""
    sections = []
    for kind in dict.fromkeys(finding.kind for finding in verified.findings):
        findings = tuple(finding for finding in verified.findings if finding.kind == kind)
        (sentence,) = describe_findings(findings)
        anchor = re.sub(r"[^a-z]+", "-", kind)
        shown = _choose_shown(findings)
        title = f"{kind[0].upper()}{kind[1:]}"
        sentence = sentence.removeprefix(f"{title}: ")
        if kind == "probably a wrong label" and verified.label_check is not None:
            sentence += f" {verified.label_check.describe()}"
        sections.append(Section(title, anchor, sentence, shown, len(findings) - len(shown)))
    num_doubtful = len({file for finding in verified.findings for file in finding.files})
    num_bad = len(verified.undecodable)
    bad_files = (*verified.undecodable.items(), *verified.unusual, *verified.bad_boxes)
    classes = sorted(verified.class_counts.items(), key=lambda each: -each[1])
    return FindingsPage(
        title=real_path(verified.folder).name,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        version=version("verydeep"),
        summary=f"{count_of(num_doubtful, 'photograph')} to look at; {count_of(num_bad, 'file')} cannot be decoded.",
        tiles=(
            ("files", f"{verified.num_files:,}"),
            ("cannot be decoded", f"{num_bad:,}"),
            ("groups of copies and near-duplicates", f"{sum(each.group is not None for each in verified.findings):,}"),
            ("photographs to look at", f"{num_doubtful:,}"),
        ),
        bad_files=bad_files[:MAX_CARDS],
        num_bad_files=len(bad_files),
        sections=tuple(sections),
        short_sides=tuple(verified.short_sides.items()),
        classes=tuple(classes),
        class_sentence=" ".join(describe_classes(verified.class_counts)) or "No class is much smaller than another.",
        notes=verified.notes,
        thumbnails={},
    )


def _choose_shown(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the first findings, of together at most ``MAX_CARDS`` photographs; at least one."""
    shown, num_photographs = list[Finding](), 0
    for finding in findings:
        num_photographs += len(finding.files)
        if shown and num_photographs > MAX_CARDS:
            break
        shown.append(finding)
    return tuple(shown)


def _render(content: FindingsPage) -> str:
    return render("findings.html.jinja", content, GENERATOR)
