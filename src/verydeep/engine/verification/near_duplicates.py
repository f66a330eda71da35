"""Groups of copies and near-duplicates among the photographs of a data set, above all across its parts."""

import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from verydeep.data.folders.copies import group_copies
from verydeep.data.pixels.photograph_measures import stack_thumbnails
from verydeep.engine.verification.inspection import InspectedPhotograph
from verydeep.ops.near_duplicates import group_near_duplicates, join_pairs
from verydeep.results.verified_data import Finding, FindingKind, order_findings


def find_duplicates(
    photographs: Sequence[InspectedPhotograph], root: Path, similar: Iterable[tuple[str, str]] = ()
) -> Generator[float, None, list[Finding]]:
    """Return a finding for each group of photographs that are copies or nearly the same.

    Args:
        photographs: each file once.
        root: folder of the data set.
        similar: pairs of files with similar descriptors, which are compared whatever their hashes are.

    Yields:
        Numbers of photographs that are done, first none.
    """
    copies = group_copies([os.path.join(root, photograph.file) for photograph in photographs])  # noqa: PTH118
    places = {photograph.file: index for index, photograph in enumerate(photographs)}
    thumbnails = stack_thumbnails([photograph.measures.thumbnail for photograph in photographs])
    candidates = [(places[one], places[other]) for one, other in similar]
    alike = yield from group_near_duplicates(thumbnails, candidates)
    pairs = [(group[0], other) for group in (*copies, *alike) for other in group[1:]]
    groups = join_pairs(pairs, len(photographs))
    copy_sets = {tuple(group) for group in copies}
    findings = [
        _describe_group([photographs[index] for index in group], is_copy=tuple(group) in copy_sets) for group in groups
    ]
    return [replace(finding, group=number) for number, finding in enumerate(order_findings(findings), start=1)]


def _describe_group(group: Sequence[InspectedPhotograph], *, is_copy: bool) -> Finding:
    """Return the finding about a group, still without its number."""
    parts = sorted({photograph.part for photograph in group})
    labels = sorted({photograph.label for photograph in group if photograph.label is not None})
    text = "the same bytes" if is_copy else "nearly the same photograph"
    kind: FindingKind = "copies" if is_copy else "near-duplicates"
    if len(parts) > 1:
        kind, text = "near-duplicates across splits", f"{text}, in {' and '.join(parts)}"
    if len(labels) > 1:
        kind, text = "same photograph, several labels", f"{text}, with the labels {' and '.join(labels)}"
    return Finding(kind, tuple(photograph.file for photograph in group), text)
