"""The order of photographs and nets among the arguments of a command, which is easily confused."""

import shlex
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path

from verydeep.data.folders.listing import holds_images
from verydeep.data.folders.products import describe_product
from verydeep.data.pixels.formats import FORMATS
from verydeep.engine.datasets import GENERATED
from verydeep.engine.nets.folders import is_net
from verydeep.errors import OptionError


def check_data_first(usage: str, data: str, sources: Sequence[object]) -> None:
    """Refuse a net in the place of the data set, and photographs in the place of a net.

    Args:
        usage: the command with its arguments, such as "evaluate DATA RUN".
        data: the data set, as the user names it.
        sources: the nets; those in memory are not looked at.

    Raises:
        OptionError: an argument is in the place of another.
    """
    photographs = [path for path in _list_paths(sources) if _holds_photographs(path)]
    if data != GENERATED and _is_product(Path(data)):
        subject = f"{data} {describe_product(Path(data)) or 'is a net'}"
        if not photographs and (not is_net(Path(data)) or any(map(_is_product, _list_paths(sources)))):
            raise OptionError(f"{subject}: give a folder of photographs.", "data")
        command = _write_command(usage, photographs[0] if photographs else None, Path(data))
    elif photographs:
        subject = f"{photographs[0]} {_name_contents(photographs[0])}, not a net"
        command = _write_command(usage, Path(data) if _holds_photographs(Path(data)) else photographs[0], None)
    else:
        return
    raise OptionError(f"{subject}: `data` comes first and `run` second, as in {command}.", "data")


def check_data_second(usage: str, source: object, images: object) -> None:
    """Refuse photographs in the place of a net or an archive.

    Args:
        usage: the command with its arguments, such as "predict RUN DATA" or "search ARCHIVE DATA".
        source: the net or archive.
        images: what was given as photographs.

    Raises:
        OptionError: the first argument is photographs.
    """
    for path in _list_paths([source]):
        if _holds_photographs(path):
            several = images if isinstance(images, Sequence) and not isinstance(images, str) else [images]
            net = next((each for each in _list_paths(several) if _is_product(each)), None)
            name = "archive" if "ARCHIVE" in usage else "run"
            subject = f"{path} {_name_contents(path)}"
            if name == "archive" and net is None:
                raise OptionError(
                    f"{subject}: make an archive of photographs first, by `verydeep features RUN "
                    f"{shlex.quote(str(path))} --out DIR`, and search in DIR.",
                    name,
                )
            raise OptionError(f"{subject}, and `{name}` comes first, as in {_write_command(usage, path, net)}.", name)
        product = describe_product(path) if path.is_dir() and "ARCHIVE" in usage else None
        if product is not None and not product.startswith("is an archive"):
            raise OptionError(f"{path} {product}, not an archive: give a folder of `verydeep features`.", "archive")


def _list_paths(values: Sequence[object]) -> list[Path]:
    return [Path(fspath(value)) for value in values if isinstance(value, str | PathLike)]


def _is_product(path: Path) -> bool:
    is_photograph = path.is_file() and path.suffix.lower() in FORMATS
    return not is_photograph and (is_net(path) or (path.is_dir() and describe_product(path) is not None))


def _holds_photographs(path: Path) -> bool:
    if path.is_dir():
        return not _is_product(path) and holds_images(path)
    return path.is_file() and path.suffix.lower() in FORMATS


def _name_contents(path: Path) -> str:
    return "holds photographs" if path.is_dir() else "is a photograph"


def _write_command(usage: str, data: Path | None, net: Path | None) -> str:
    place = "ARCHIVE" if "ARCHIVE" in usage else "RUN"
    names = {"DATA": shlex.quote(str(data)) if data else "DATA", place: shlex.quote(str(net)) if net else place}
    return f"`verydeep {' '.join(names.get(word, word) for word in usage.split())}`"
