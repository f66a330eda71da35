"""`verydeep prepare`: a data set as it is handed out to folders that the other commands read."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


def prepare(
    dataset: Positional[Literal["ilsvrc"]],
    source: Annotated[Path, Positional, arg(metavar="SRC")],
    destination: Annotated[Path, Positional, arg(metavar="DEST")],
) -> None:
    """Turn ILSVRC-2012 as it is handed out into class folders in train/ and val/, and test images in test/.

    Stopped half-way, the same command goes on where it was. Reading the devkit needs pip install
    'verydeep[ilsvrc]'.

    Args:
        dataset: Which data set; ilsvrc is ILSVRC-2012, the ImageNet challenge of 1000 classes.
        source: Folder with the original tars (ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, the devkit
            ILSVRC2012_devkit_t12.tar.gz), or Kaggle's unpacked download (with ILSVRC/ and
            LOC_synset_mapping.txt in it).
        destination: Folder to make; Kaggle's files are hard-linked into it where they lie on the same disk.
    """
    from verydeep.data.preparation import describe_part, find_source, prepare_ilsvrc
    from verydeep.engine.progress import progress_bar
    from verydeep.errors import VerydeepError

    if not source.is_dir():
        raise VerydeepError(f"There is no folder {source}; name the one that holds {dataset}'s tars or Kaggle's tree.")
    found = find_source(source)
    print(f"{source}: {found.layout}, {len(found.metadata.words):,} classes; parts: {', '.join(found.parts)}")
    with progress_bar() as bar:
        tasks = {part: bar.add_task(part, total=None, note="", start=False) for part in found.parts}
        for step in prepare_ilsvrc(found, destination):
            bar.start_task(tasks[step.part])
            bar.update(tasks[step.part], completed=step.done, total=step.total)
    for part in found.parts:
        print(describe_part(found, destination, part))
    print(f"Ready: verydeep train {destination}" if "train" in found.parts else f"Ready: {destination}")
