"""The result of `verify`: what is wrong, odd or doubtful about the photographs of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, get_args

from verydeep.results.result import Record, Result
from verydeep.wording import count_of, escape_controls, shorten_list

FindingKind = Literal[
    "same photograph, several labels",
    "probably a wrong label",
    "near-duplicates across splits",
    "near-duplicates",
    "copies",
    "nearly uniform",
    "too dark",
    "too bright",
    "blurred",
    "tiny",
    "elongated",
]
"""Kinds of findings, the most important first."""

FEW_PHOTOGRAPHS = 10
"""Photographs of a class below which it is named."""

UNEQUAL = 10
"""Ratio of the largest to the smallest class from which classes count as unequal."""

MAX_NAMES = 5
"""Classes that a sentence names."""


POOR_ERROR = 40.0
"""Error in percent from which a net is too poor to judge labels (docs/finding-bad-data.md)."""

USUAL_SHARE = 0.05
"""Share of wrong labels that is assumed to say how many of the listed ones are right."""


@dataclass(frozen=True)
class Finding:
    """A finding about the content of one photograph, or of a group of near-duplicates."""

    kind: FindingKind
    files: tuple[str, ...]
    """The photographs, relative to the folder of the data set."""
    text: str
    """What was found, with the figures on which the finding is based."""
    group: int | None = None
    """Number of the group, counted from 1; None if the finding is about a single photograph."""

    def describe(self, file: str) -> str:
        """Return the finding about one of its photographs; for a group, with the name of another photograph of it."""
        if self.group is None:
            return self.text
        other = next(each for each in self.files if each != file)
        return f"{self.text} (group {self.group}, with {other})"


@dataclass(frozen=True)
class LabelCheck:
    """How well a net can judge the labels, and how many labels it judged."""

    num_photographs: int
    """Number of judged photographs; each has one label, and is judged by SVMs that were not trained on it."""
    num_others: int
    """Number of these photographs whose most probable class is not their label."""
    num_listed: int
    """Number of photographs whose label is probably wrong."""

    @property
    def error(self) -> float:
        """Share of the photographs, in percent, whose most probable class is not their label."""
        return 100 * self.num_others / max(1, self.num_photographs)

    @property
    def is_reliable(self) -> bool:
        """Whether the net is good enough for the list of probably wrong labels to be of use."""
        return self.error < POOR_ERROR

    def describe(self) -> str:
        """Return sentences about the net's error, and about how many of the listed labels are right after all."""
        text = (
            f"Labels: this net's descriptors contradict the labels of {self.num_others:,} of "
            f"{count_of(self.num_photographs, 'photograph')} ({self.error:.1f}%)."
        )
        fewest = self.num_listed - round(USUAL_SHARE * self.num_photographs)
        if fewest > 0:
            text += (
                f" If one label in twenty is wrong, at least {fewest:,} of the {self.num_listed:,} listed labels are "
                "right after all."
            )
        if not self.is_reliable:
            text += (
                " The net is too poor for this task, so the list is not reliable: use a published net, such as "
                "`net=oxford-vgg16`, or train longer."
            )
        return text


@dataclass(frozen=True, eq=False, repr=False)
class VerifiedData(Result):
    """Files of a data set that cannot be decoded or are unusual, and findings about the content of photographs."""

    formats: ClassVar[Mapping[str, str]] = {"decodable": "yes/no"}

    folder: Path
    """The folder of the data set."""
    layout: str
    """How the data set is arranged, such as class folders."""
    num_files: int
    """Number of files that were checked."""
    undecodable: Mapping[str, str]
    """Reason for each file that cannot be decoded or is refused."""
    unusual: tuple[tuple[str, str], ...]
    """(file, description) for each file that can be used but is unusual."""
    notes: tuple[str, ...] = ()
    """Sentences about folders, for example about files that were left out."""
    folder_problems: tuple[str, ...] = ()
    """Sentences about folders that `train` refuses."""
    bad_boxes: tuple[tuple[str, str], ...] = ()
    """(file, finding) for each box that `train` refuses; the file is '' if the finding is about no single file."""
    findings: tuple[Finding, ...] = ()
    """Findings about the content of photographs, the most important first; they do not prevent training."""
    class_counts: Mapping[str, int] = field(default_factory=dict)
    """Number of training photographs of each class; of all photographs if the data set has no splits."""
    short_sides: Mapping[str, int] = field(default_factory=dict)
    """Histogram: number of photographs for each range of the short side in pixels."""
    num_unused: int = 0
    """Number of images in the folder that belong to no split; they were not decoded."""
    label_check: LabelCheck | None = None
    """How well a net can judge the labels; None if no net was given."""
    page: Path | None = None
    """The page with thumbnails; None if it was not asked for."""

    @property
    def problem(self) -> str:
        """Sentences about files that cannot be used and folders that cannot be trained on; empty if there are none."""
        sentences = list(self.folder_problems)
        if self.undecodable:
            has_classes = self.layout != "photographs"
            use = "train" if has_classes else "use `verydeep predict` and `verydeep features`"
            sentences.append(
                f"{len(self.undecodable):,} of {self.num_files:,} files cannot be used: replace or remove them, or "
                f"{use} with `bad_images=skip`."
            )
        if self.bad_boxes:
            subject = "annotation of boxes is" if len(self.bad_boxes) == 1 else "annotations of boxes are"
            sentences.append(
                f"{len(self.bad_boxes):,} {subject} wrong or missing: correct them, or train with `bad_boxes=clip` or "
                "`bad_boxes=skip`."
            )
        return "\n".join(map(escape_controls, sentences))

    def records(self) -> list[Record]:
        """Return one record for each undecodable file, each unusual file, each bad box and each finding."""
        undecodable = [_record(file, "undecodable", text, decodable=False) for file, text in self.undecodable.items()]
        unusual = [_record(file, "unusual", text) for file, text in self.unusual]
        boxes = [_record(file, "box", text, decodable=True if file else None) for file, text in self.bad_boxes]
        findings = [
            _record(file, finding.kind, finding.describe(file), finding.group)
            for finding in self.findings
            for file in finding.files
        ]
        return [*undecodable, *unusual, *boxes, *findings]

    def columns(self) -> Mapping[str, str]:
        """Return the columns of the table: those with text come first, and are wrapped on a narrow terminal."""
        return {key: key for key in ("file", "finding", "decodable")}

    def footer(self) -> list[str]:
        """Return the notes, and how many files there are."""
        files = {1: "The file", 2: "Both files"}.get(self.num_files, f"All {self.num_files:,} files")
        decodable = [] if self.undecodable else [f"{files} can be decoded."]
        if self.num_unused:
            verb = "was" if self.num_unused == 1 else "were"
            decodable.append(f"{count_of(self.num_unused, 'image')} without a class {verb} not looked at.")
        return [
            *self.notes,
            *describe_classes(self.class_counts),
            *describe_sides(self.short_sides),
            *([] if self.label_check is None else [self.label_check.describe()]),
            *describe_findings(self.findings),
            *decodable,
            *([] if self.page is None else [f"Page with thumbnails: {self.page}"]),
        ]


def _record(file: str, kind: str, finding: str, group: int | None = None, *, decodable: bool | None = True) -> Record:
    return {"file": file, "finding": finding, "decodable": decodable, "kind": kind, "group": group}


def order_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings sorted by kind, the most important kind first; the order within a kind is kept."""
    kinds = get_args(FindingKind)
    return sorted(findings, key=lambda finding: kinds.index(finding.kind))


def describe_findings(findings: Sequence[Finding]) -> list[str]:
    """Return a sentence for each kind of finding."""
    sentences = []
    for kind in dict.fromkeys(finding.kind for finding in findings):
        same = [finding for finding in findings if finding.kind == kind]
        photographs = count_of(sum(len(finding.files) for finding in same), "photograph")
        groups = "" if same[0].group is None else f" in {count_of(len(same), 'group')}"
        remedy = f": {REMEDIES[kind]}" if kind in REMEDIES else ""
        sentences.append(f"{kind[0].upper()}{kind[1:]}: {photographs}{groups}{remedy}.")
    return sentences


REMEDIES: Mapping[FindingKind, str] = {
    "same photograph, several labels": "correct the labels, or remove all but one of each group",
    "probably a wrong label": "look at them, the most doubtful first",
    "near-duplicates across splits": "errors come out too low, so keep one of each group",
    "near-duplicates": "keep one of each group, or keep groups together with `group_by`",
    "copies": "keep one of each group",
}
"""What to do about each kind of finding, if it is not obvious."""


def describe_sides(short_sides: Mapping[str, int]) -> list[str]:
    """Return a sentence with the histogram of short sides, if there are several."""
    if sum(short_sides.values()) < 2:
        return []
    return [f"Short sides: {', '.join(f'{count:,} of {name} pixels' for name, count in short_sides.items())}."]


def describe_classes(counts: Mapping[str, int]) -> list[str]:
    """Return sentences about classes with few photographs, and about unequal classes."""
    sentences = []
    few = [f"{name} {count}" for name, count in counts.items() if count < FEW_PHOTOGRAPHS]
    if few:
        verb = "class has" if len(few) == 1 else "classes have"
        sentences.append(
            f"{len(few):,} {verb} fewer than {FEW_PHOTOGRAPHS} training photographs: {shorten_list(few, MAX_NAMES)}."
        )
    if unequal := describe_unequal(counts):
        sentences.append(unequal)
    return sentences


def describe_unequal(counts: Mapping[str, int]) -> str:
    """Return a sentence if the largest class has at least ten times as many photographs as the smallest, or ""."""
    if not counts:
        return ""
    largest, smallest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    if counts[largest] < UNEQUAL * counts[smallest]:
        return ""
    photographs = count_of(counts[largest], "photograph")
    return f"The classes are unequal: {largest} has {photographs}, {smallest} {counts[smallest]:,}."
