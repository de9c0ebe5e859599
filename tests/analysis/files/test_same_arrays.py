"""The same photo and label file give the same arrays in the Explorer, a folder, CamVid's place, reports and Python."""

import io
import json

import numpy as np
import pytest
from PIL import Image, features

from analysis.files.photos import photo_notes, read_label_image, read_labels, read_photo, scaled_size
from analysis.report.measuring import open_images
from dnl.classes import CAMVID
from dnl.datasets import CamVid, Folder
from dnl.pictures import FORMAT_OF_ENDING, is_picture, read_header

HEIGHT, WIDTH = 40, 56
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
COLOURS[:10, :, 3], COLOURS[10:20, :, 3] = 0, 255
PICTURE = Image.fromarray(COLOURS)


def encoded(picture, format, **options):
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


PHOTOS = {
    **{f"png {mode}": encoded(PICTURE.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")},
    "png of a transparent colour": encoded(PICTURE.convert("P"), "PNG", transparency=3),
    "png of a transparent grey": encoded(PICTURE.convert("L"), "PNG", transparency=9),
    **{f"png turned {k}": encoded(PICTURE.convert("RGB"), "PNG", exif=turned(k)) for k in range(2, 9)},
    **{f"jpeg {mode}": encoded(PICTURE.convert(mode), "JPEG") for mode in ("L", "RGB", "CMYK")},
    **{f"jpeg turned {k}": encoded(PICTURE.convert("RGB"), "JPEG", exif=turned(k)) for k in range(2, 9)},
    "jpeg progressive": encoded(PICTURE.convert("RGB"), "JPEG", progressive=True),
    "webp": encoded(PICTURE.convert("RGB"), "WEBP"),
    "webp RGBA": encoded(PICTURE, "WEBP", lossless=True),
    "webp animated": encoded(PICTURE, "WEBP", save_all=True, append_images=[PICTURE.rotate(180)], lossless=True),
    **{f"tiff {mode}": encoded(PICTURE.convert(mode), "TIFF") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")},
    "tiff of 16 bits": encoded(Image.fromarray(RNG.integers(0, 65536, (HEIGHT, WIDTH), np.uint16)), "TIFF"),
    "tiff compressed": encoded(PICTURE.convert("RGB"), "TIFF", compression="tiff_lzw"),
    "tiff of two pages": encoded(PICTURE.convert("RGB"), "TIFF", save_all=True, append_images=[PICTURE.convert("RGB")]),
    **{f"tiff turned {k}": encoded(PICTURE.convert("RGB"), "TIFF", exif=turned(k)) for k in range(2, 9)},
    **{f"bmp {mode}": encoded(PICTURE.convert(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")},
}
if features.check("avif"):
    PHOTOS |= {
        "avif": encoded(PICTURE.convert("RGB"), "AVIF"),
        "avif RGBA": encoded(PICTURE, "AVIF"),
        **{f"avif turned {k}": encoded(PICTURE.convert("RGB"), "AVIF", exif=turned(k)) for k in (3, 6)},
    }

ENDINGS = {"PNG": ".PNG", "JPEG": ".JFIF", "WEBP": ".webp", "TIFF": ".TIF", "BMP": ".bmp", "AVIF": ".Avif"}


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photo(name, tmp_path):
    data = PHOTOS[name]
    wanted, original = read_photo(data)
    header = read_header(data)
    assert header.size == original == wanted.shape[:2]
    file_name = f"a{ENDINGS[header.format]}"
    for part in ("images", "labels", "train", "trainannot"):
        (tmp_path / part).mkdir()
    label = Image.fromarray(np.ones(original, np.uint8))
    classes = [{"name": "a", "colour": [1, 1, 1]}, {"name": "b", "colour": [2, 2, 2]}]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": classes}))
    for images, labels in (("images", "labels"), ("train", "trainannot")):
        (tmp_path / images / file_name).write_bytes(data)
        label.save(tmp_path / labels / "a.png")
    found = {
        "folder": Folder(tmp_path)[0].image,
        "camvid": CamVid(tmp_path)[0].image,
        "report on labels": open_images("folder", str(tmp_path), "all")[0].image,
        "report on photos": open_images("folder", str(tmp_path / "train"), "all")[0].image,
    }
    for entry, image in found.items():
        assert image.dtype == np.uint8 and np.array_equal(image, wanted), entry


def test_hidden_colours_are_white():
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[8:24, 8:24] = (200, 10, 10, 255)
    image = read_photo(encoded(Image.fromarray(picture), "PNG")).image
    assert (image[0, 0] == 255).all() and (image[16, 16] == (200, 10, 10)).all()


def test_a_large_photo_differs_by_its_scale_alone(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "trainannot").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (300, 2000, 3), np.uint8)
    labels = np.random.default_rng(0).integers(0, 12, (300, 2000), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "train" / "a.png")
    Image.fromarray(labels).save(tmp_path / "trainannot" / "a.png")
    sample = CamVid(tmp_path)[0]
    assert (sample.image == pixels).all() and (sample.labels == labels).all()
    height, width = scaled_size((300, 2000))
    photo = read_photo((tmp_path / "train" / "a.png").read_bytes())
    small = Image.fromarray(sample.image).resize((width, height), Image.Resampling.LANCZOS)
    assert np.array_equal(photo.image, np.asarray(small))
    read = read_labels((tmp_path / "trainannot" / "a.png").read_bytes(), photo.original_size, CAMVID)
    assert np.array_equal(
        read, np.asarray(Image.fromarray(sample.labels).resize((width, height), Image.Resampling.NEAREST))
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_turned_labels(orientation, format, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "trainannot").mkdir()
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[:5, :9], labels[-4:] = 3, 7
    for part, picture in (("train", Image.new("RGB", (WIDTH, HEIGHT))), ("trainannot", Image.fromarray(labels))):
        picture.save(tmp_path / part / f"a.{format}", exif=turned(orientation))
    data = (tmp_path / "trainannot" / f"a.{format}").read_bytes()
    size = read_photo((tmp_path / "train" / f"a.{format}").read_bytes()).original_size
    read = read_label_image(data, size, CAMVID).labels
    assert np.array_equal(CamVid(tmp_path)[0].labels, read) and sorted(np.unique(read)) == [0, 3, 7]
    assert size == ((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))


def test_every_ending_in_any_case():
    for end in FORMAT_OF_ENDING:
        kind = FORMAT_OF_ENDING[end]
        readable = features.check("avif") if kind == "AVIF" else kind != "HEIF"
        assert is_picture(f"a{end}") == is_picture(f"a.b{end.upper()}") == readable
    assert not is_picture(".png") and not is_picture("png") and not is_picture("a.txt")


def test_heic_is_named():
    heic = bytes((0, 0, 0, 24)) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(100)
    with pytest.raises(ValueError, match="The photo is a HEIC picture, which cannot be read here: save it as JPEG"):
        read_photo(heic)


def test_what_a_photo_leaves_out_is_said():
    assert photo_notes(PHOTOS["png RGB"]) == ()
    assert photo_notes(PHOTOS["tiff of 16 bits"]) == (
        "The photo has 16 bits per channel, of which the upper 8 are used.",
    )
    assert "all but black" in photo_notes(PHOTOS["png I;16"])[1]
    assert photo_notes(PHOTOS["webp animated"]) == ("The photo has 2 frames or pages, of which the first is shown.",)
    assert photo_notes(PHOTOS["tiff of two pages"]) == photo_notes(PHOTOS["webp animated"])


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pictures_of_numbers_that_are_no_colours(mode):
    data = encoded(Image.new(mode, (40, 40)), "TIFF")
    with pytest.raises(ValueError, match="The photo has pixels of"):
        read_photo(data)
