"""``verydeep convert``: a weight file of another system becomes a model folder."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from verydeep.options import option


def convert(
    file: Annotated[
        Path,
        Positional,
        arg(metavar="FILE", help="A weight file, or the name of a published net, as oxford-vgg16."),
    ],
    out: Annotated[Path, Positional, arg(metavar="OUT", help="The model folder to be made.")],
    /,
    *,
    input: Annotated[  # noqa: A002 - the field's word
        Literal["caffe", "rgb", "torchvision"] | None,
        option(
            "What the net was trained to see: BGR 0-255 minus the mean; RGB likewise; RGB 0-1 minus the mean, divided "
            "by the deviation.",
            "what the file's system takes",
        ),
    ] = None,
    class_names: Annotated[
        Path | None,
        option("A text file with the name of each output in a line.", "ILSVRC's WNIDs of 1000 outputs", "FILE"),
    ] = None,
    format: Annotated[Literal["table", "json"], arg(help="json: one object.")] = "table",  # noqa: A002
) -> None:
    """Read a weight file of Caffe, MatConvNet, Keras, torchvision or timm, and write a model folder of it.

    The system is told by what the file holds. What it does to the input (BGR, division) is folded into the first
    weights, so that the net takes RGB, 0-255, as all of ours. The folder is a RUN of every other command, and so is the
    file itself, and the name of a published net, which is downloaded once:

    oxford-vgg16, oxford-vgg19: the authors' (matconvnet- and keras-: the same in other files); torchvision-vgg11, 13,
    16, 19 and each with _bn; timm/vgg16.tv_in1k and its kin; hf-hub:OWNER/NAME what `verydeep push` left there.

    Try:
        verydeep convert VGG_ILSVRC_16_layers.caffemodel vgg16
        verydeep convert vgg11-mine.pth mine --class-names names.txt
    """
    from verydeep.configs.published import PUBLISHED
    from verydeep.engine.importing.conversion import convert_file
    from verydeep.engine.importing.downloads import fetch
    from verydeep.engine.importing.imported import is_name
    from verydeep.errors import VerydeepError

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise VerydeepError(f"{out} already exists: choose another OUT, or remove it.")
    published = PUBLISHED.get(str(file))
    if published is None and not file.exists() and is_name(file.as_posix()):
        raise VerydeepError(f"{file} is a RUN by that name, and converted on its first use: convert takes files.")
    path = file if published is None or file.exists() else fetch(published)
    names = None if class_names is None else read_names(class_names)
    converted = convert_file(path, input, names)
    converted.save(out)
    config, about = converted.config, converted.config.provenance
    if format == "json":
        values = {"out": str(out), "network": config.network, "crop": config.crop, **asdict(about)}
        print(json.dumps({name: value for name, value in values.items() if value is not None}, indent=1))
        return
    shape = "" if config.width == 1 else f" at {config.width:g} of the width"
    classes = "no FC layers: a trunk" if config.is_trunk else f"{len(config.class_names)} classes"
    print(f"{path}: {about.format or 'verydeep'}; net {config.network}{shape}, crop {config.crop}, {classes}.")
    if converted.published is not None:
        print(f"It is {converted.published.name}, under {converted.published.license}.")
    if about.input is not None:
        print(f"Its input, {about.input}, is folded: it now takes RGB, 0-255, minus its mean.")
    for note in converted.notes:
        print(note)
    print(f"Written: {out}")
    use = "train photos --init-from" if config.is_trunk else "predict"
    print(f"Try:  verydeep {use} {out}{'' if config.is_trunk else ' photo.jpg'}")


def read_names(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        VerydeepError: it cannot be read.
    """
    from verydeep.errors import VerydeepError

    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VerydeepError(f"--class-names {path} cannot be read ({error}): give a text file.") from None
