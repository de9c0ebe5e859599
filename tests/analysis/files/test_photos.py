import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from analysis.files.photos import UploadError, pair_notes, photo_notes, read_labels, read_photo, scaled_size
from dnl.classes import CAMVID, CITYSCAPES, LabelSet
from dnl.untrusted import MAX_PIXELS
from tests.png import SIGNATURE, chunk, grey_png, sixteen_bit_png
from tests.tiff import BLACK_IS_ZERO, WHITE_IS_ZERO, tiff


def encoded(picture, format="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def ramp(height=40, width=60):
    """A picture that is different in every corner: H×W×3 uint8."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 // height, x * 255 // width, (x + y) % 256], axis=2).astype(np.uint8)


def png_of_declared_size(width, height):
    """A tiny PNG file that declares a huge picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = zlib.compress(bytes(1000))
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


# --- photos that work ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_come_through_unchanged(format, options):
    photo = read_photo(encoded(Image.fromarray(ramp()), format, **options))
    assert (photo.image == ramp()).all() and photo.original_size == (40, 60)
    assert photo.image.dtype == np.uint8


def test_jpeg():
    photo = read_photo(encoded(Image.fromarray(ramp()), "JPEG", quality=95))
    assert np.abs(photo.image.astype(int) - ramp()).mean() < 12


def test_grey_becomes_three_equal_channels():
    grey = ramp()[..., 0]
    photo = read_photo(encoded(Image.fromarray(grey)))
    assert (photo.image == grey[..., None]).all()


def test_black_and_white():
    mask = ramp()[..., 0] > 128
    photo = read_photo(encoded(Image.fromarray(mask)))
    assert (photo.image == np.where(mask, 255, 0)[..., None]).all()


def test_16_bit_grey_keeps_its_upper_bits():
    values = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    photo = read_photo(encoded(Image.fromarray(values)))
    assert (photo.image == (values >> 8)[..., None]).all()


def test_16_bit_colour():
    values = np.random.default_rng(0).integers(0, 65536, (40, 60, 3), dtype=np.uint16)
    assert (read_photo(sixteen_bit_png(values)).image == values >> 8).all()


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_16_bit_grey_that_stores_white_as_0(compression):
    """Of a slide that is white at the left and black at the right, and of a dark one, which is said to be so."""
    values = np.linspace(0, 65535, 40 * 60).reshape(60, 40).T.astype(np.uint16)
    data = tiff(values, WHITE_IS_ZERO)
    if compression:
        data = encoded(Image.open(io.BytesIO(data)), "TIFF", compression=compression)
        data = data.replace(struct.pack("<HHIHH", 262, 3, 1, 1, 0), struct.pack("<HHIHH", 262, 3, 1, 0, 0))
    image = read_photo(data).image
    assert (image == ((65535 - values) >> 8)[..., None]).all() and image[0, 0, 0] == 255 and image[-1, -1, 0] == 0
    assert len(photo_notes(data)) == 1
    assert "all but black" in photo_notes(tiff(np.full((40, 60), 65535 - 4000, np.uint16), WHITE_IS_ZERO))[1]
    assert (read_photo(tiff((values >> 8).astype(np.uint8), WHITE_IS_ZERO)).image == image).all()


def test_channels_of_16_bits_that_lie_apart_are_refused():
    with pytest.raises(UploadError, match=r"holds 16 bits of each channel apart, .*: save it as PNG"):
        read_photo(tiff(np.zeros((40, 60), np.uint16), BLACK_IS_ZERO, planes=2))


def test_cmyk():
    picture = Image.new("CMYK", (60, 40), (0, 255, 255, 0))
    red = read_photo(encoded(picture, "JPEG")).image
    assert red[..., 0].min() > 240 and red[..., 1:].max() < 15


def test_palette():
    picture = Image.fromarray(ramp()).quantize(16)
    assert (read_photo(encoded(picture)).image == np.asarray(picture.convert("RGB"))).all()


def test_transparent_pixels_show_white():
    pixels = np.dstack([ramp(), np.full((40, 60), 255, np.uint8)])
    pixels[:10, :, 3] = 0
    pixels[10:20, :, 3] = 128
    image = read_photo(encoded(Image.fromarray(pixels))).image
    assert (image[:10] == 255).all() and (image[20:] == ramp()[20:]).all()
    blended = ramp()[10:20] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(image[10:20] - blended).max() <= 1


def test_a_transparent_colour_of_a_palette_shows_white():
    picture = Image.new("P", (60, 40), 1)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    image = read_photo(encoded(picture, transparency=1)).image
    assert (image == 255).all()


def turned(height, width, orientation, format="JPEG"):
    """A photo that is stored H×W and says by EXIF how it is turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(ramp(height, width)), format, exif=exif)


@pytest.mark.parametrize(("size", "orientation"), [((60, 60), 6), ((60, 60), 3), ((40, 60), 3), ((40, 60), 2)])
def test_labels_that_may_lie_on_the_photo_as_it_is_stored_get_a_note(size, orientation):
    labels = encoded(Image.fromarray(np.zeros(size, np.uint8)))
    (note,) = pair_notes(turned(*size, orientation), labels)
    assert note.startswith(f"The photo is read turned by its EXIF orientation {orientation}, its label image as it is")
    assert "save both upright" in note
    assert pair_notes(turned(*size, orientation), turned(*size, orientation, "PNG")) == ()
    (other,) = pair_notes(encoded(Image.fromarray(ramp(*size))), turned(*size, orientation, "PNG"))
    assert "The photo is read as it is stored, its label image turned by its EXIF" in other


def test_labels_whose_size_tells_how_they_lie_get_none():
    """Stored 40×60 and turned to 60×40: labels of 60×40 lie on it as it is shown, those of 40×60 are refused."""
    photo = turned(40, 60, 6)
    shown, stored = (encoded(Image.fromarray(np.zeros(size, np.uint8))) for size in ((60, 40), (40, 60)))
    size = read_photo(photo).original_size
    assert size == (60, 40) and pair_notes(photo, shown) == ()
    assert read_labels(shown, size, CAMVID).shape == (60, 40)
    with pytest.raises(UploadError, match="One of them may have been turned: save both upright"):
        read_labels(stored, size, CAMVID)
    assert pair_notes(encoded(Image.fromarray(ramp())), stored) == ()
    assert pair_notes(b"no picture", stored) == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = read_photo(encoded(Image.fromarray(ramp()), "PNG", exif=exif))
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: np.rot90(a),
    }[orientation]
    assert (photo.image == undo(ramp())).all()
    assert photo.original_size == ((40, 60) if orientation < 5 else (60, 40))


def test_the_first_frame_of_an_animation():
    frames = [Image.fromarray(ramp()), Image.new("RGB", (60, 40), "red")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert (read_photo(data).image == ramp()).all()


def test_a_large_photo_is_scaled_down_and_says_what_it_was():
    photo = read_photo(encoded(Image.fromarray(ramp(1500, 3000))))
    assert photo.image.shape == (512, 1024, 3) and photo.original_size == (1500, 3000)
    assert np.abs(photo.image[256, 512].astype(int) - ramp(1500, 3000)[750, 1500])[:2].max() <= 2


def test_scaled_size_keeps_the_shape_and_small_photos():
    assert scaled_size((360, 480)) == (360, 480)
    assert scaled_size((1024, 1024)) == (1024, 1024)
    assert scaled_size((4000, 3000)) == (1024, 768)
    assert scaled_size((1, 100_000)) == (1, 1024)


# --- photos that do not ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"hello, I am a text file", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF0000WEBP"])
def test_no_image(data):
    with pytest.raises(UploadError, match=r"not a readable PNG, JPEG, WEBP, TIFF, (BMP or AVIF|or BMP)"):
        read_photo(data)


def test_an_empty_file():
    with pytest.raises(UploadError, match="empty file"):
        read_photo(b"")


@pytest.mark.parametrize("format", ["GIF", "PPM", "JPEG2000", "ICO"])
def test_other_formats(format):
    with pytest.raises(UploadError, match="not a readable"):
        read_photo(encoded(Image.fromarray(ramp()), format))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated(format, share):
    data = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), format)
    with pytest.raises(UploadError, match=r"cut off or damaged|not a readable"):
        read_photo(data[: int(len(data) * share)])


def test_damaged_in_the_middle():
    data = bytearray(encoded(Image.fromarray(ramp())))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(UploadError, match="damaged"):
        read_photo(bytes(data))


@pytest.mark.parametrize("side", [8_000, 10_000, 100_000])
def test_a_decompression_bomb_is_not_decoded(side):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(UploadError, match="more than 50 million pixels"):
            read_photo(png_of_declared_size(side, side))


def test_pillows_own_limit_stays_in_place():
    assert Image.MAX_IMAGE_PIXELS is not None and MAX_PIXELS < Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("size", [(1, 1), (31, 200), (200, 31)])
def test_too_small(size):
    with pytest.raises(UploadError, match="at least 32"):
        read_photo(encoded(Image.new("RGB", size)))


def test_too_narrow_once_scaled_down():
    with pytest.raises(UploadError, match=r"17×1024 once its longer side is scaled to 1024"):
        read_photo(encoded(Image.new("RGB", (3000, 50))))


# --- label images ----------------------------------------------------------------------------------------------------

INDICES = np.random.default_rng(1).integers(0, 12, (40, 60)).astype(np.uint8)  # 11 is CamVid's "no class"


@pytest.mark.parametrize("kind", ["grey", "palette", "16 bit", "grey and alpha"])
def test_class_indices(kind):
    picture = Image.fromarray(INDICES)
    if kind == "palette":
        picture.putpalette(np.random.default_rng(2).integers(0, 256, 768).tolist())
    if kind == "16 bit":
        picture = Image.fromarray(INDICES.astype(np.uint16))
    if kind == "grey and alpha":
        picture = Image.merge("LA", [picture, Image.new("L", picture.size, 0)])
    labels = read_labels(encoded(picture), (40, 60), CAMVID)
    assert (labels == INDICES).all() and labels.dtype == np.uint8


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_class_indices_of_few_bits(bits):
    indices = INDICES % (1 << bits) % 12
    assert (read_labels(grey_png(indices, bits), (40, 60), CAMVID) == indices).all()
    photo = read_photo(grey_png(indices, bits)).image  # of which black is 0 and white the largest value
    assert (photo == (indices * (255 // ((1 << bits) - 1)))[..., None]).all()


def test_255_means_no_class_too():
    indices = np.where(INDICES == 3, 255, INDICES).astype(np.uint8)
    labels = read_labels(encoded(Image.fromarray(indices)), (40, 60), CAMVID)
    assert (labels == np.where(INDICES == 3, 11, INDICES)).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_of_the_palette(mode):
    picture = Image.fromarray(CAMVID.colour(INDICES)).convert(mode)  # no class is black
    assert (read_labels(encoded(picture), (40, 60), CAMVID) == INDICES).all()


def test_black_may_be_the_colour_of_a_class():
    label_set = LabelSet("two", ("background", "thing"), ((0, 0, 0), (0, 255, 0)), 255)
    picture = Image.fromarray(label_set.colour(INDICES % 2))
    assert (read_labels(encoded(picture), (40, 60), label_set) == INDICES % 2).all()


@pytest.mark.parametrize("ignore_index", [-1, 300])
def test_an_ignore_index_may_be_no_byte(ignore_index):
    label_set = LabelSet("two", ("wall", "thing"), ((9, 9, 9), (0, 255, 0)), ignore_index)
    expected = np.where(INDICES < 2, INDICES.astype(int), ignore_index)
    for picture in (np.where(INDICES < 2, INDICES, 255).astype(np.uint8), label_set.colour(expected)):
        assert (read_labels(encoded(Image.fromarray(picture)), (40, 60), label_set) == expected).all()


def test_labels_follow_a_photo_that_was_scaled_down():
    indices = np.repeat(np.repeat(np.array([[0, 3], [7, 9]], np.uint8), 750, axis=0), 1500, axis=1)
    photo = read_photo(encoded(Image.new("RGB", (3000, 1500))))
    labels = read_labels(encoded(Image.fromarray(indices)), photo.original_size, CAMVID)
    assert labels.shape == photo.image.shape[:2]
    assert (labels[:256, :512] == 0).all() and (labels[256:, :512] == 7).all()
    assert (labels[:256, 512:] == 3).all() and (labels[256:, 512:] == 9).all()


def test_another_size_names_both():
    with pytest.raises(UploadError, match="60 pixels wide and 40 high but the photo is 40 pixels wide and 60 high"):
        read_labels(encoded(Image.fromarray(INDICES)), (60, 40), CAMVID)


def test_unknown_values_are_named():
    indices = INDICES.copy()
    indices[0, 0], indices[5, 5] = 12, 200
    with pytest.raises(UploadError, match=r"the values 12, 200, which are no class of camvid \(0 … 10; 11 or 255"):
        read_labels(encoded(Image.fromarray(indices)), (40, 60), CAMVID)
    with pytest.raises(UploadError, match="the value 300, which is no class"):
        read_labels(encoded(Image.fromarray(np.full((40, 60), 300, np.uint16))), (40, 60), CAMVID)
    with pytest.raises(UploadError, match=r"\(0 … 18; 255 for none\)"):
        read_labels(encoded(Image.fromarray(indices)), (40, 60), CITYSCAPES)


def test_unknown_colours_are_named():
    colours = CAMVID.colour(INDICES)
    colours[0, 0] = (1, 2, 3)
    with pytest.raises(UploadError, match=r"the colour \(1, 2, 3\), which is no class of camvid"):
        read_labels(encoded(Image.fromarray(colours)), (40, 60), CAMVID)


def test_many_unknown_colours_are_counted():
    colours = CAMVID.colour(INDICES)
    colours[0, :6] = [(1, 1, index) for index in range(6)]
    with pytest.raises(UploadError, match=r"the colours \(1, 1, 0\), .*, \(1, 1, 3\) and 2 more, which are no"):
        read_labels(encoded(Image.fromarray(colours)), (40, 60), CAMVID)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_labels_must_keep_their_values(format):
    with pytest.raises(UploadError, match="label image is not a readable PNG, TIFF or BMP file"):
        read_labels(encoded(Image.fromarray(INDICES), format), (40, 60), CAMVID)


def test_damaged_labels():
    data = encoded(Image.fromarray(INDICES))
    with pytest.raises(UploadError, match="label image"):
        read_labels(data[: len(data) // 2], (40, 60), CAMVID)
