import numpy as np
import pytest

from dnl.datasets import Streets
from pages.parts.subjects.places import CamVidPlace, StreetPlace, UploadPlace, image_place, image_words
from tests.pages.small import png


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """$DNL_DATA with two images in one split, and none in the other."""
    for name in ("val", "valannot"):
        (tmp_path / name).mkdir()
        for file in ("one", "two"):
            (tmp_path / name / f"{file}.png").write_bytes(png(np.zeros((8, 8), np.uint8)))
    monkeypatch.setenv("DNL_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("place", "words"),
    [(StreetPlace(0), "street-1"), (StreetPlace(11), "street-12"), (CamVidPlace("val", 1), "camvid-val-two")],
)
def test_a_link_s_image_is_its_place(folder, place, words):
    assert image_words(place) == words
    assert image_place(words) == place


def test_a_user_s_own_image_is_in_no_link():
    assert image_words(UploadPlace(("mine.png", b""))) is None
    assert image_words(None) is None


@pytest.mark.parametrize(
    "words",
    [
        "street-0",
        f"street-{len(Streets('gallery')) + 1}",
        "street-1 ",
        "camvid-val-three",
        "camvid-train-one",
        "one",
        "",
    ],
)
def test_what_names_no_image_has_no_place(folder, words):
    assert image_place(words) is None


def test_an_image_that_is_gone_is_in_no_link(folder, monkeypatch):
    (folder / "val" / "two.png").unlink()
    (folder / "valannot" / "two.png").unlink()
    assert image_words(CamVidPlace("val", 1)) is None
    monkeypatch.delenv("DNL_DATA")
    assert image_place("camvid-val-one") is None
