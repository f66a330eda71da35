import numpy as np
from scipy.fft import dctn

from verydeep.ops.arrays import UInt8Array
from verydeep.ops.perceptual_hash import hash_thumbnails


def noise(count: int, seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32), np.uint8)


def test_a_hash_is_the_signs_of_low_frequencies_about_their_median() -> None:
    thumbnails = noise(5)
    for thumbnail, signs in zip(thumbnails, hash_thumbnails(thumbnails), strict=True):
        spectrum = dctn(thumbnail.astype(float), type=2)[1:9, 1:9].ravel()
        # Ours integrates the cosines over each pixel, which weighs the frequencies a little otherwise.
        weights = np.sinc(np.arange(1, 9) / 64)
        spectrum *= np.outer(weights, weights).ravel()
        assert (signs == np.where(spectrum > np.median(spectrum), 1, -1)).all()


def test_a_mirrored_hash_is_that_of_the_mirror_image() -> None:
    thumbnails = noise(20, seed=1)
    assert (hash_thumbnails(thumbnails, mirrored=True) == hash_thumbnails(thumbnails[:, :, ::-1])).mean() > 0.999


def test_the_hash_of_the_middle_is_that_of_a_crop() -> None:
    thumbnails = noise(20, seed=2)
    crops = np.kron(thumbnails[:, 8:24, 8:24], np.ones((1, 2, 2))).astype(np.uint8)
    assert (hash_thumbnails(thumbnails, share=0.5) == hash_thumbnails(crops)).mean() > 0.99
