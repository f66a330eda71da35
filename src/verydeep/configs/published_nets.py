"""Published nets by name: addresses, digests, authors and licenses of their files, and their errors.

Sources: the authors' page in Caffe's model zoo, MatConvNet's list of pre-trained nets, and torchvision's and Keras's
own tables, which tests compare with this one. The errors of the authors' nets are the paper's (Table 3).
"""

import re
from dataclasses import dataclass

from verydeep.configs.networks import NETWORKS

OXFORD = "http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe"
MATCONVNET = "https://www.vlfeat.org/matconvnet/models"
TORCHVISION = "https://download.pytorch.org/models"
KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"

CC_BY = "CC-BY-4.0"
UNSETTLED = "not settled"
"""The license of weights whose publishers name one for their code alone."""

TIMM = "timm/"
"""Beginning of the names of timm's nets, which are copies of torchvision's."""

JITTERED = "256-512"
"""The train scale of the nets that the authors published."""


REPOSITORY = re.compile(r"\w([\w.-]{0,94}\w)?/\w([\w.-]{0,94}\w)?", re.ASCII)
"""A repository of the Hugging Face Hub: OWNER/NAME."""


@dataclass(frozen=True)
class Terms:
    """Who made a published net, and the conditions of its use."""

    author: str
    address: str
    """A page of the author's about the net."""
    conditions: str
    """One sentence or more about the license."""

    def __str__(self) -> str:
        return f"by {self.author} ({self.address}). {self.conditions}"


AUTHORS_TERMS = Terms(
    "Karen Simonyan and Andrew Zisserman, Visual Geometry Group, University of Oxford",
    "https://www.robots.ox.ac.uk/~vgg/research/very_deep/",
    "License: CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). Credit the authors, link the license, and say "
    "what you changed.",
)
TORCHVISION_TERMS = Terms(
    "the developers of torchvision",
    "https://docs.pytorch.org/vision/stable/models.html",
    "The license of these weights is not settled: torchvision's code is under BSD-3-Clause, but ImageNet, on which "
    "they were trained, was released for non-commercial research.",
)


@dataclass(frozen=True)
class PublishedNet:
    """A weight file that anybody may download."""

    name: str
    """The name that stands for the net in every command."""
    network: str
    url: str
    digest: str
    """Algorithm ("sha1", "md5" or "sha256"), a colon, and the beginning of the file's digest."""
    license: str
    errors: tuple[float, float]
    """Published top-1 and top-5 error in percent on ILSVRC-2012's validation images."""
    protocol: str
    """The protocol of these errors."""
    scale: str | None = None
    """The train scale S of the paper's own nets, which belong to rows of its tables; None for others."""

    @property
    def terms(self) -> Terms:
        """Its author, and the conditions of its use."""
        return AUTHORS_TERMS if self.license == CC_BY else TORCHVISION_TERMS

    @property
    def megabytes(self) -> int:
        """The approximate size of the file: four bytes for each weight."""
        return round(4 * NETWORKS[self.network].num_parameters() / 1e6)

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.url.rsplit("/", 1)[-1]


def _authors(depth: int, network: str, errors: tuple[float, float]) -> list[PublishedNet]:
    """Return the authors' net as a file of Caffe, MatConvNet and Keras."""
    digest = {
        "oxford-vgg16": "sha1:9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24",
        "oxford-vgg19": "sha1:239785e7862442717d831f682bb824055e51e9ba",
        "matconvnet-vgg16": "md5:f72d927587ca4c97fbd165ec9cb9997f",
        "matconvnet-vgg19": "md5:106118b7cf60435e6d8e04f6a6dc3657",
        "keras-vgg16": "md5:64373286793e3c8b2b4e3219cbf3544b",
        "keras-vgg19": "md5:cbe5617147190e668d6c5d5026f83318",
    }
    urls = {
        f"oxford-vgg{depth}": f"{OXFORD}/VGG_ILSVRC_{depth}_layers.caffemodel",
        f"matconvnet-vgg{depth}": f"{MATCONVNET}/imagenet-vgg-verydeep-{depth}.mat",
        f"keras-vgg{depth}": f"{KERAS}/vgg{depth}/vgg{depth}_weights_tf_dim_ordering_tf_kernels.h5",
    }
    return [
        PublishedNet(name, network, url, digest[name], CC_BY, errors, "dense, Q=384", JITTERED)
        for name, url in urls.items()
    ]


def _torchvision(name: str, network: str, digest: str, accuracy: tuple[float, float]) -> PublishedNet:
    """Return a net that torchvision trained itself."""
    return PublishedNet(
        f"torchvision-{name}",
        network,
        f"{TORCHVISION}/{name}-{digest}.pth",
        f"sha256:{digest}",
        UNSETTLED,
        (round(100 - accuracy[0], 3), round(100 - accuracy[1], 3)),
        "central crop, Q=256",
    )


PUBLISHED: dict[str, PublishedNet] = {
    net.name: net
    for net in (
        *_authors(16, "D", (25.6, 8.1)),
        *_authors(19, "E", (25.5, 8.0)),
        _torchvision("vgg11", "A", "8a719046", (69.020, 88.628)),
        _torchvision("vgg11_bn", "A", "6002323d", (70.370, 89.810)),
        _torchvision("vgg13", "B", "19584684", (69.928, 89.246)),
        _torchvision("vgg13_bn", "B", "abd245e5", (71.586, 90.374)),
        _torchvision("vgg16", "D", "397923af", (71.592, 90.382)),
        _torchvision("vgg16_bn", "D", "6c64b313", (73.360, 91.516)),
        _torchvision("vgg19", "E", "dcbb9e9d", (72.376, 90.876)),
        _torchvision("vgg19_bn", "E", "c79401a0", (74.218, 91.842)),
    )
}
"""Published nets by name. timm's copies of torchvision's ("timm/vgg16.tv_in1k") are on the Hugging Face Hub."""


def find_terms(name: str) -> Terms | None:
    """Return the terms of a published net, by its name, or None if it is none."""
    if name in PUBLISHED:
        return PUBLISHED[name].terms
    return TORCHVISION_TERMS if name.startswith(TIMM) else None


def find_published(digests: dict[str, str]) -> PublishedNet | None:
    """Return the published net whose file has these digests (algorithm -> digest), or None."""
    for net in PUBLISHED.values():
        algorithm, _, beginning = net.digest.partition(":")
        if digests[algorithm].startswith(beginning):
            return net
    return None
