"""Photos and label images: every broken or hostile file gets one sentence, quickly and without much memory."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from analysis.files.photos import MAX_SIDE, UploadError, read_labels, read_photo
from dnl.classes import CAMVID
from tests.fuzz import corpus
from tests.fuzz.guard import FACTOR, cases, result_or_sentence

IMAGES = corpus.images()
BOMBS = corpus.bombs()
POLYGLOTS = corpus.polyglots()


def tried_as_photo(data: bytes) -> None:
    photo = result_or_sentence("photos", lambda: read_photo(data), UploadError)
    if photo is not None:
        assert photo.image.dtype == np.uint8 and photo.image.ndim == 3 and max(photo.image.shape) <= MAX_SIDE


def tried_as_labels(data: bytes, size: tuple[int, int]) -> None:
    for coding in ("indices", "colours", "32-indices"):
        named = functools.partial(read_labels, data, size, CAMVID, coding=coding)
        result_or_sentence("label images", named, UploadError)
    labels = result_or_sentence("label images", lambda: read_labels(data, size, CAMVID), UploadError)
    if labels is not None:
        assert labels.dtype == np.uint8 and ((labels < CAMVID.num_classes) | (labels == CAMVID.ignore_index)).all()


@given(corpus.spoilt(IMAGES))
@cases(60)
def test_spoilt_photos(data):
    tried_as_photo(data)


@given(
    corpus.spoilt([*IMAGES[:8], *corpus.label_images()]),
    st.sampled_from([(40, 56), (56, 40), (1, 1), (100_000, 100_000)]),
)
@cases(60)
def test_spoilt_labels(data, size):
    tried_as_labels(data, size)


@pytest.mark.parametrize("data", IMAGES)
def test_whole_photos_are_read(data):
    assert read_photo(data).image.shape in ((40, 56, 3), (56, 40, 3))


@pytest.mark.parametrize("name", [*BOMBS, *POLYGLOTS])
def test_bombs_and_polyglots(name):
    data = (BOMBS | POLYGLOTS)[name]
    tried_as_photo(data)
    for size in ((40, 40), (7000, 7000), (60_000, 60_000)):
        tried_as_labels(data, size)


@pytest.mark.parametrize("format", ["TIFF", "BMP", "AVIF"])
def test_the_largest_allowed_photos_of_other_formats(format):
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("needs AVIF in Pillow")
    side = 5000 if format == "AVIF" else 7000
    options = {"TIFF": {"compression": "tiff_lzw"}, "AVIF": {"speed": 10}}.get(format, {})
    data = corpus.encoded(Image.new("RGB", (side, side)), format, **options)
    tried_as_photo(data)
    if format != "AVIF":
        tried_as_labels(data, (side, side))


MODES = ["RGB", "I;16", "LA", "RGBA", "L", "P", "1"]


@pytest.mark.parametrize("mode", MODES if FACTOR > 1 else MODES[:2])
def test_the_largest_allowed_label_image_stays_small_in_memory(mode):
    data = corpus.encoded(Image.new(mode, (7000, 7000)), "PNG", compress_level=1)
    tried_as_labels(data, (7000, 7000))
    tried_as_photo(data)
