"""Formats of image files: known by their content, whatever the name, and found in folders by their suffix."""

import os
import re
import threading
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from PIL import features

from verydeep.paths import is_file

FORMATS = {
    suffix: name
    for name, suffixes in {
        "JPEG": ".jpg .jpeg .jpe .jfif .pjpeg .pjp .mpo",
        "PNG": ".png .apng",
        "WEBP": ".webp",
        "BMP": ".bmp",
        "GIF": ".gif",
        "TIFF": ".tif .tiff .btf",
        "PPM": ".ppm .pgm .pbm .pnm .pfm",
        "JPEG2000": ".jp2 .j2k .jpx .jpf .jpc .j2c",
        "AVIF": ".avif",
        "HEIF": ".heic .heif .hif",
        "JXL": ".jxl",
    }.items()
    for suffix in suffixes.split()
}
"""Suffix of an image file -> the format it promises. No other formats are decoded (EPS runs a program)."""

BYTE_FORMATS = frozenset({"JPEG", "WEBP", "BMP", "GIF", "AVIF", "HEIF"})
"""Formats whose files decode to bytes, always."""

PLUGINS = {"HEIF": ("heif", ("pi_heif", "pillow_heif")), "JXL": ("jxl", ("pillow_jxl",))}
"""Format that Pillow reads with the help of another package -> our extra, and the modules of which one suffices."""

PILLOW_FORMATS = tuple(dict.fromkeys(name for name in FORMATS.values() if name not in PLUGINS))
"""Formats that Pillow reads by itself."""

BEGINNING = 32
"""Bytes at the beginning of a file that tell its format."""

UNREAD = "unread"
"""Stands for all formats that are never decoded."""

_UNREAD = frozenset(
    """
    .cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf .dng .orf .rw2 .raf .pef .srw .x3f .3fr .iiq .rwl .erf .kdc
    .mrw .raw .psd .psb .xcf .svg .svgz .eps .ai .tga .ico .icns .dds .exr .hdr .pcx .sgi .qoi .wmf .emf
    .djvu .jxr .wdp .dcm .dicom .nii .nrrd .mha .mhd .czi .lif .nd2 .lsm .oib .vsi .svs .ndpi .scn
    .mrxs .fits .fit .fts
    """.split()  # noqa: SIM905 - a list of them fills the page
)
"""Suffixes of images that are never decoded; .gz and .npy may hold anything."""

_OTHER = frozenset(
    """
    .txt .csv .tsv .json .jsonl .xml .yaml .yml .toml .ini .cfg .conf .md .rst .html .htm .css .js .py
    .ipynb .sh .bat .m .r .db .sqlite .lnk .url .log .bak .tmp .part .crdownload .lock .pdf .doc .docx
    .xls .xlsx .ppt .pptx .odt .ods .gz .bz2 .xz .npy .npz .mat .h5 .hdf5 .pt
    .pth .ckpt .pkl .safetensors .parquet .feather .mp3 .wav .aac .flac .ogg .m4a .aae .xmp .thm .exe .dll .so
    .md5 .sha256
    """.split()  # noqa: SIM905 - a list of them fills the page
)
"""Suffixes of files that are no images, so that they are not opened."""

VIDEO = "video"
"""Stands for all formats of videos."""

PACKED = "packed"
"""Stands for all formats of packed folders, such as zip."""

_HOLDERS = {
    **dict.fromkeys(".mp4 .mov .avi .mkv .webm .m4v .mpg .mpeg .wmv .3gp .mts .flv".split(), VIDEO),  # noqa: SIM905
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".tgz"), PACKED),
}
"""Suffix of a file that may hold pictures -> what it is; such files are not opened."""

_LOADING = threading.Lock()


class MissingPackageError(Exception):
    """A file needs a package that is not installed."""

    def __init__(self, kind: str, remedy: str) -> None:
        """``kind`` says what the file is, and ``remedy`` what to do."""
        super().__init__(f"is {kind}: {remedy}")


def promises_bytes(file: str) -> bool:
    """Whether the suffix of a file promises a format whose pixel values are bytes."""
    return FORMATS.get(os.path.splitext(file)[1].lower()) in BYTE_FORMATS  # noqa: PTH122 - a million files


def identify_format(beginning: bytes) -> str | None:
    """Return the format of a file by its first 32 bytes, or None if it is none of ``FORMATS``."""
    signatures = (
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF87a", "GIF"),
        (b"GIF89a", "GIF"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"II+\0", "TIFF"),
        (b"MM\0+", "TIFF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
        (b"\xff\x4f\xff\x51", "JPEG2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
        (b"\xff\x0a", "JXL"),
    )
    for signature, name in signatures:
        if beginning.startswith(signature):
            return name
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "WEBP"
    if beginning[:2] == b"BM" and beginning[6:10] == bytes(4) and beginning[15:18] == bytes(3):
        return "BMP"
    if re.match(rb"P[1-6fF][ \t\r\n#]", beginning):
        return "PPM"
    return _identify_ftyp(beginning)


def _identify_ftyp(beginning: bytes) -> str | None:
    """Return the format of an ISO media file by its brands: AVIF and HEIF share their container with videos."""
    if beginning[4:8] != b"ftyp":
        return None
    brands = {beginning[8:12], *(beginning[start : start + 4] for start in range(16, BEGINNING, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    heif = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
    return "HEIF" if beginning[8:12] in heif else None


def read_beginning(path: Path) -> bytes:
    """Return the first 32 bytes of a file; nothing of one that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(BEGINNING)
    except OSError:
        return b""


def describe_unidentified(path: Path) -> str:
    """Return what a file is that no decoder recognizes, and what to do, by its first 32 bytes."""
    beginning = read_beginning(path)
    if beginning.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the image itself: run `git lfs pull`"
    if not beginning:
        kind = "is empty"
    elif (name := identify_format(beginning)) is not None:
        kind = f"is a damaged {name} file"
    elif beginning.lstrip().startswith(b"<"):
        kind = "is a web page or other text, not an image"
    else:
        kind = "is not an image, or its header is damaged"
    return f"{kind}; replace or remove the file"


def is_decodable(name: str) -> bool:
    """Whether files of this format can be decoded with what is installed."""
    if name == "AVIF":
        return bool(features.check("avif"))
    return name not in {UNREAD, VIDEO, PACKED} and (name not in PLUGINS or _plugin_module(name) is not None)


def load_plugin(name: str) -> None:
    """Let Pillow read a format of ``PLUGINS``, which must be decodable; other formats are not affected."""
    with _LOADING:
        plugin = import_module(_plugin_module(name) or "")
        if name == "HEIF":
            plugin.register_heif_opener()


def _plugin_module(name: str) -> str | None:
    return next((module for module in PLUGINS[name][1] if find_spec(module) is not None), None)


def is_unread_suffix(suffix: str) -> bool:
    """Whether files with this suffix are images that are never decoded."""
    return suffix.lower() in _UNREAD


def find_holder(name: str) -> str | None:
    """Return ``VIDEO`` or ``PACKED`` for a file that may hold pictures, by its suffix; None for any other."""
    return _HOLDERS.get(os.path.splitext(name)[1].lower())  # noqa: PTH122 - a million files


def describe_remedy(name: str) -> str:
    """Return what to do about files of a format that cannot be decoded."""
    if name == VIDEO:
        return "extract pictures from them"
    if name == PACKED:
        return "unpack them if they hold photographs"
    if name in PLUGINS:
        return f"pip install 'verydeep[{PLUGINS[name][0]}]'"
    return "pip install -U pillow" if name == "AVIF" else "convert them to JPEG or PNG"


def find_format(entry: "os.DirEntry[str]") -> str | None:
    """Return the format of a file in a folder: one of ``FORMATS``, ``UNREAD``, or None if it is not an image.

    The suffix tells it; a file with an unknown suffix or none is opened.
    """
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - a million files
    if suffix in FORMATS:
        return FORMATS[suffix]
    if suffix in _UNREAD:
        return UNREAD
    if suffix in _OTHER or suffix in _HOLDERS or not is_file(entry):  # a pipe would wait for its writer
        return None
    return identify_format(read_beginning(Path(entry.path)))


def describe_unread(unread: Mapping[tuple[str, str], int], folder: Path) -> list[str]:
    """Return a sentence about each kind of image in a folder that is not read: how many there are, and what to do.

    Args:
        unread: name of the kind, which is a suffix or a format, and its format -> number of files.
        folder: that holds them.
    """
    sentences = []
    for (name, kind), count in sorted(unread.items()):
        verb, remedy = "file is" if count == 1 else "files are", describe_remedy(kind)
        if count == 1:
            remedy = remedy.replace("them", "it").replace("they hold", "it holds")
        sentences.append(f"In {folder} {count:,} {name} {verb} not read: {remedy}.")
    return sentences
