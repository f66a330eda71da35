"""`verydeep prepare`: a data set, as it is distributed, in folders that the other commands read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from verydeep.options import PathSource, ProgressOptions
from verydeep.parameters import Option, command
from verydeep.paths import real_path

if TYPE_CHECKING:
    from verydeep.data.sets.preparation import IlsvrcSource
    from verydeep.results.prepared_data import PreparedData, PreparedSplit


@command
def prepare(
    dataset: Annotated[Literal["ilsvrc"], Option("ilsvrc: ILSVRC-2012, the ImageNet challenge of 1000 classes.")],
    source: Annotated[PathSource, Option("Folder with the original files, or Kaggle's unpacked download.")],
    destination: Annotated[PathSource, Option("Folder to make.")],
    **_options: Unpack[ProgressOptions],
) -> "PreparedData":
    """Sort the downloaded files of ILSVRC-2012 into folders for training and testing.

    SOURCE contains either the original files (ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and
    ILSVRC2012_devkit_t12.tar.gz) or Kaggle's ILSVRC/ and LOC_synset_mapping.txt. DESTINATION gets class folders in
    train/ and val/, and test photographs in test/. The original files need pip install 'verydeep[ilsvrc]'. Kaggle's
    photographs are hard-linked if both folders are on the same disk. To continue a stopped job, run the same
    command again.

    Try:
        verydeep prepare ilsvrc downloads ilsvrc

    Raises:
        DataError: The source holds neither kind of download, or a tar file is damaged.
        OptionError: The destination holds something other than an unfinished ILSVRC-2012.
        ResourceError: The destination cannot be written, or was removed while files were written.
    """
    from verydeep.data.sets.preparation import find_ilsvrc, prepare_ilsvrc
    from verydeep.engine.log import Log
    from verydeep.engine.progress import progress_bar
    from verydeep.errors import DataError, ResourceError
    from verydeep.results.prepared_data import PreparedData
    from verydeep.wording import count_of

    source, destination = Path(source), Path(destination)
    if not source.is_dir():
        raise DataError(f"There is no folder {source}: give the one with ILSVRC-2012's tars or Kaggle's download.")
    files = find_ilsvrc(source)
    if real_path(destination) != real_path(source):
        check_destination(destination)
    Log().info(
        f"{source}: {files.layout}, {len(files.metadata.words):,} classes; splits: {', '.join(files.split_names)}"
    )
    with progress_bar() as bar:
        num_written = dict.fromkeys(files.split_names, 0)
        tasks = {name: bar.add_task(name, total=None, note="", start=False) for name in files.split_names}
        for step in prepare_ilsvrc(files, destination):
            bar.start_task(tasks[step.split])
            bar.update(tasks[step.split], completed=step.done, total=step.total)
            num_written[step.split] = step.done
    splits = tuple(count_split(files, destination, name) for name in files.split_names)
    for split in splits:
        if (num_lost := num_written[split.name] - split.num_images) > 0:
            raise ResourceError(
                f"{destination / split.name} lacks {count_of(num_lost, 'image')} that had been written and "
                f"{'was' if num_lost == 1 else 'were'} removed meanwhile: run the same command again."
            )
    return PreparedData(destination, splits)


def check_destination(destination: Path) -> None:
    """Refuse a folder that holds something else than a preparation that was stopped.

    Raises:
        OptionError: It is a file, or holds other files or classes than those of ILSVRC.
    """
    from verydeep.data.folders.folder import WNID
    from verydeep.files import check_output_folder

    def is_ours(name: str) -> bool:
        if name in ("train", "val"):
            names = [each.name for each in (destination / name).iterdir()] if (destination / name).is_dir() else [name]
            return all(WNID.match(each) or each.startswith(".") for each in names)
        return name.startswith((".", "words.txt")) or name in ("test", "Annotations")

    check_output_folder(destination, is_ours, "ILSVRC-2012", "destination")


def count_split(source: "IlsvrcSource", destination: Path, name: str) -> "PreparedSplit":
    """Count the images of a prepared split."""
    from verydeep.data.sets.preparation import count_images, describe_split
    from verydeep.results.prepared_data import PreparedSplit

    counts, expected = count_images(destination, name), source.expected_counts(name)
    num_images = sum(counts.values())
    return PreparedSplit(
        name=name,
        num_images=num_images,
        num_classes=0 if name == "test" else len(counts),
        num_missing=max(0, sum(expected.values()) - num_images) if expected else None,
        description=describe_split(name, counts, expected),
    )
