"""The time that describing images will take: before all others, a few are described and timed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from verydeep.configs.scales import in_pixels
from verydeep.data.loading.testing_images import TestImages
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.descriptors.activations import describe_batches
from verydeep.engine.log import Log
from verydeep.engine.nets.net import Net
from verydeep.engine.progress import duration_text
from verydeep.engine.runtime import Runtime
from verydeep.models.cpu_engine import TestedNet
from verydeep.ops.arrays import Int64Array

MAX_TIMED = 4
"""Images that are timed at most; the first one warms up."""

ENOUGH_SECONDS = 1
"""Time after which no more images are timed."""


@dataclass(frozen=True)
class DescribingJob:
    """Images that a net has yet to describe."""

    net: Net
    layer: str
    scales: Sequence[int]
    """Test scales Q."""
    split: Split
    missing: Int64Array
    """(m,) indices of the images in the split."""


def log_duration(jobs: Sequence[DescribingJob], runtime: Runtime, decoding: Decoding, log: Log) -> TestedNet | None:
    """Log how long all processes together will take; the main process times a few images.

    Returns:
        The net of the first job, if it was timed. While the caller holds it, the job does not prepare it once more.

    Raises:
        DataError: an image cannot be decoded and bad images are errors.
        WeightsError: a net cannot be loaded, or computes values that are not finite.
        OptionError: a net has no such layer, or a scale is smaller than its crop.
    """
    count = max((len(job.missing) for job in jobs), default=0)
    if not runtime.is_main or count <= MAX_TIMED:
        return None
    pending = [job for job in jobs if len(job.missing)]
    ready = pending[0].net.prepare(runtime)
    seconds = sum(estimate_seconds(job, runtime, decoding) for job in pending)
    log.info(f"Expected time: {duration_text(seconds)} for {count:,} photographs.")
    return ready


def estimate_seconds(job: DescribingJob, runtime: Runtime, decoding: Decoding) -> float:
    """Return the seconds of a job; workers decode while the net computes.

    Raises:
        DataError: an image cannot be decoded and bad images are errors.
        WeightsError: the net cannot be loaded, or computes values that are not finite.
        OptionError: the net has no such layer, or a scale is smaller than its crop.
    """
    alone = replace(runtime, rank=0, world_size=1, num_workers=0)
    model = job.net.prepare(alone)
    images = TestImages(job.split, tuple(in_pixels(scale, model.crop) for scale in job.scales), None, decoding)
    seconds = []  # of each image: for decoding, and for the net
    for place in np.linspace(0, len(job.missing) - 1, MAX_TIMED).astype(np.int64):
        index = int(job.missing[place])
        begin = time.perf_counter()
        images[index]
        decoded = time.perf_counter()
        for _ in describe_batches(job.net, model, job.layer, job.scales, job.split, alone, decoding, [index]):
            runtime.wait()
        decoding_seconds = decoded - begin
        seconds.append((decoding_seconds, max(0.0, time.perf_counter() - decoded - decoding_seconds)))
        if sum(map(sum, seconds[1:])) > ENOUGH_SECONDS:
            break
    for_decoding, for_net = np.median(seconds[1:], axis=0).tolist()
    workers = runtime.num_workers
    per_image = max(for_net, for_decoding / workers) if workers else for_net + for_decoding
    return float(per_image * len(job.missing) / runtime.world_size)
