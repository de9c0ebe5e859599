"""Normalisation and the joint random crop."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dnl.transforms import MEAN, STD, OtherCamera, RandomCrop, normalise, paste, photometric_jitter


def coordinates(height, width):
    """An image whose first two channels, like its labels, tell where each pixel was."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y, x, np.full_like(y, 7)], axis=2).astype(np.uint8)
    return image, (y // 10).astype(np.uint8)


def test_normalise_by_hand():
    image = np.zeros((2, 3, 3), np.uint8)
    image[1, 2] = (255, 0, 51)
    tensor = normalise(image)
    assert tensor.shape == (3, 2, 3)
    assert tensor[0, 1, 2] == pytest.approx((1 - MEAN[0]) / STD[0])
    assert tensor[2, 1, 2] == pytest.approx((0.2 - MEAN[2]) / STD[2])
    assert tensor[1, 0, 0] == pytest.approx(-MEAN[1] / STD[1])
    with pytest.raises(ValueError, match="H×W×3 uint8"):
        normalise(image.astype(np.float32))


def test_a_picture_that_must_not_be_written_to_is_taken_in_silence():
    """As `np.asarray` gives Pillow's; torch warns of one once a process, hence the fresh one."""
    program = (
        "import numpy as np; from PIL import Image; from dnl.transforms import normalise; "
        "normalise(np.asarray(Image.new('RGB', (3, 2))))"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


@pytest.mark.parametrize("seed", range(8))
def test_image_and_labels_are_cut_and_flipped_together(seed):
    crop = RandomCrop(60, 80, 0.8, 1.6, jitter=0.0)
    image, labels = crop(*coordinates(120, 150), np.random.default_rng(seed))
    assert image.shape == (60, 80, 3) and labels.shape == (60, 80)
    rows = image[..., 0].astype(int)
    # A label is a tenth of the row it came from; the two resamplings differ by less than a pixel.
    assert np.abs(rows - (labels.astype(int) * 10 + 4.5)).max() <= 6
    columns = np.diff(image[30, :, 1].astype(int))
    assert (columns >= 0).all() or (columns <= 0).all()


def test_what_lies_outside_is_ignored():
    crop = RandomCrop(64, 64, 1.0, 1.0, jitter=0.0, ignore_index=11)
    image, labels = crop(*coordinates(32, 40), np.random.default_rng(0))
    assert (labels == 11).sum() == 64 * 64 - 32 * 40
    assert (image[labels == 11] == 128).all()


def test_the_same_generator_state_gives_the_same_crop_and_another_does_not():
    crop = RandomCrop(48, 64)
    first, again, other = (crop(*coordinates(100, 130), np.random.default_rng(seed))[0] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_jitter_of_zero_strength_keeps_the_image_and_never_changes_its_input():
    image = coordinates(20, 30)[0]
    before = image.copy()
    assert np.abs(photometric_jitter(image, 0.0, np.random.default_rng(0)).astype(int) - image).max() <= 1
    assert not np.array_equal(photometric_jitter(image, 0.5, np.random.default_rng(0)), image)
    assert np.array_equal(image, before)
    assert torch.is_tensor(normalise(image))


class Drawn:
    """A generator whose draws are all the same number, and whose noise is none."""

    def __init__(self, number: float):
        self.number = number

    def uniform(self, low, high, size=None):
        return np.full(size, self.number) if size else self.number

    def random(self):
        return self.number

    def standard_normal(self, shape, dtype):
        return np.zeros(shape, dtype)


def test_another_camera_raises_brightness_to_its_gamma_and_multiplies_each_channel():
    image = np.full((5, 7, 3), (51, 102, 153), np.uint8)  # 0.2, 0.4, 0.6
    seen = OtherCamera(gamma=np.log(2), cast=0.1)(image, Drawn(1.0))
    assert seen[2, 3].tolist() == [11, 45, 101]  # 255 · 1.1 · (0.04, 0.16, 0.36), rounded
    dark = OtherCamera(gamma=np.log(2), cast=0.1)(image, Drawn(-1.0))
    assert dark[2, 3].tolist() == [103, 145, 178]  # 255 · 0.9 · the roots


def test_another_camera_blurs_and_adds_noise_as_far_as_it_is_told():
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 200
    blurred = OtherCamera(blur=2.0)(image, np.random.default_rng(0))
    assert blurred[20, 30, 0] < 200 and blurred[20, 29, 0] > 0 and blurred[20, 5, 0] == 0
    flat = np.full((60, 80, 3), 128, np.uint8)
    spread = [OtherCamera(noise=10.0)(flat, np.random.default_rng(seed)).std() for seed in range(40)]
    assert 4 < np.mean(spread) < 6 and max(spread) < 10.5  # each photo's own, uniform in 0 … 10


def test_another_camera_that_differs_in_nothing_gives_the_photo_back():
    image = np.random.default_rng(0).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    before = image.copy()
    assert np.array_equal(OtherCamera()(image, np.random.default_rng(1)), before)
    OtherCamera(0.5, 0.3, 1.0, 20.0)(image, np.random.default_rng(1))
    assert np.array_equal(image, before)


def test_what_is_small_in_another_photo_is_laid_over_this_one():
    labels, other_labels = np.zeros((4, 5), np.uint8), np.full((4, 5), 1, np.uint8)
    other_labels[0, 1] = 2  # a twentieth
    other_labels[2:, 3] = 3  # two
    other_labels[3, 0] = 11  # no class
    image, other = np.full((4, 5, 3), 10, np.uint8), np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    pasted, classes = paste(image, labels, other, other_labels, largest=0.05, ignored=11)
    expected = np.zeros((4, 5), np.uint8)
    expected[0, 1] = 2
    np.testing.assert_array_equal(classes, expected)
    assert pasted[0, 1].tolist() == [3, 4, 5] and (pasted[expected == 0] == 10).all()
    _, classes = paste(image, labels, other, other_labels, largest=0.1, ignored=11)
    expected[2:, 3] = 3
    np.testing.assert_array_equal(classes, expected)
    assert not labels.any() and (image == 10).all()  # the crops themselves stay
