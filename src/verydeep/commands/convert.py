"""`verydeep convert`: turn a weight file of another framework into a model folder."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

from verydeep.options import PathSource, ProgressOptions, check_new_folder
from verydeep.parameters import Option, command

if TYPE_CHECKING:
    from verydeep.results.nets import ConvertedNet


@command
def convert(
    file: Annotated[PathSource, Option("A weight file, or a published net such as oxford-vgg16.")],
    out: Annotated[PathSource, Option("The model folder to make.")],
    *,
    input: Annotated[  # noqa: A002 - the field's word
        Literal["caffe", "rgb", "torchvision"] | None,
        Option("Input of the net: caffe, rgb or torchvision.", "its framework's", "KIND"),
    ] = None,
    class_names: Annotated[
        PathSource | None,
        Option("A text file with a line for each output.", "ILSVRC's WNIDs if there are 1000 outputs", "FILE"),
    ] = None,
    **_options: Unpack[ProgressOptions],
) -> "ConvertedNet":
    """Convert a weight file of another framework into a model folder.

    The framework (Caffe, MatConvNet, Keras, torchvision or timm) is recognized from the content of the file. The
    converted net gives the same output and, like all nets here, takes RGB values from 0 to 255. If the net was not
    trained on its framework's usual input, choose with `input`: caffe (BGR 0-255 minus the mean), rgb (RGB 0-255
    minus the mean) or torchvision (RGB 0-1 minus the mean, divided by the standard deviation). The layers after the
    convolutions are kept if they are three linear layers, and otherwise left out.

    Conversion is optional: wherever a command takes RUN, you may give the weight file itself or the name of a
    published net. These are oxford-vgg16, oxford-vgg19, matconvnet-vgg16, matconvnet-vgg19, keras-vgg16,
    keras-vgg19, torchvision-vgg11 (-vgg13, -vgg16, -vgg19, and each with _bn), timm/vgg16.tv_in1k (and timm's
    other VGG nets likewise), and hf-hub:OWNER/NAME for nets published with `verydeep push`.

    Try:
        verydeep convert VGG_ILSVRC_16_layers.caffemodel vgg16
        verydeep convert vgg11-mine.pth mine --class-names names.txt

    Raises:
        WeightsError: The file is damaged, or holds no VGG net of a known framework.
        OptionError: The folder exists, or the names do not fit.
    """
    from verydeep.configs.published_nets import PUBLISHED
    from verydeep.engine.importing.conversion import convert_file
    from verydeep.engine.importing.downloads import check_hub_name, fetch
    from verydeep.engine.importing.imported import HUB, is_name
    from verydeep.errors import OptionError
    from verydeep.files import atomic_folder
    from verydeep.models.weights.model_folder import CONFIG
    from verydeep.results.nets import ConvertedNet

    file, out = Path(file), Path(out)
    check_new_folder(out)
    published = None if file.exists() else PUBLISHED.get(file.as_posix())
    if published is None and not file.exists() and is_name(file.as_posix()):
        check_hub_name(file.as_posix().removeprefix(HUB))
        raise OptionError(f"{file} needs no conversion: give this name as RUN to any other command.", "file")
    path = file if published is None else fetch(published)
    names = None if class_names is None else read_names(Path(class_names))
    converted = convert_file(path, input, names)
    with atomic_folder(out, CONFIG) as folder:
        converted.save(folder)
    config = converted.config
    return ConvertedNet(
        source=path,
        out=out,
        network=config.network,
        width=config.width,
        crop=config.crop,
        num_classes=0 if config.is_trunk else len(config.class_names),
        provenance={name: value for name, value in asdict(config.provenance).items() if value is not None},
        license=None if converted.published is None else converted.published.license,
        notes=converted.notes,
    )


def read_names(path: Path) -> list[str]:
    """Return the lines of a text file.

    Raises:
        OptionError: The file cannot be read.
    """
    from verydeep.errors import OptionError

    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"`class_names={path}` cannot be read ({error}): give a text file."
        raise OptionError(message, "class_names") from None
