"""Memory that reading the largest pictures takes: python -m tests.soak.pictures

Makes a picture of the most pixels that are accepted, of each kind, and reads it in a fresh process. Says by how much
the process grew at its peak, the file itself apart. Linux.
"""

import io
import sys
from multiprocessing import get_context

import numpy as np
from PIL import Image

from analysis.files.photos import MAX_WEBP_PIXELS, read_labels, read_photo
from dnl.classes import CAMVID
from dnl.untrusted import MAX_PIXELS
from tests.fuzz.guard import peak, start_of_peak

TURNED = 6  # EXIF's word for a quarter of a turn
ORIENTATION = 0x0112


def picture(mode: str, pixels: int = MAX_PIXELS) -> Image.Image:
    """A square of coarse noise, which compresses fast."""
    side = int(pixels**0.5)
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8)).convert(mode)
    return coarse.resize((side, side), Image.Resampling.NEAREST)


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED
    return encoded(picture("RGB"), "JPEG", exif=exif)


def sixteen_bits() -> bytes:
    return encoded(Image.fromarray(np.asarray(picture("L")).astype(np.uint16) * 257), "PNG", compress_level=1)


def labels_of_indices() -> bytes:
    return encoded(Image.fromarray(np.asarray(picture("L")) % CAMVID.num_classes), "PNG", compress_level=1)


def labels_of_colours() -> bytes:
    palette = np.array(CAMVID.palette, np.uint8)
    return encoded(Image.fromarray(palette[np.asarray(picture("L")) % len(palette)]), "PNG", compress_level=1)


PHOTOS = {
    "JPEG": lambda: encoded(picture("RGB"), "JPEG"),
    "RGB PNG": lambda: encoded(picture("RGB"), "PNG", compress_level=1),
    "turned by EXIF": turned,
    "RGBA PNG": lambda: encoded(picture("RGBA"), "PNG", compress_level=1),
    "16-bit PNG": sixteen_bits,
    "WebP": lambda: encoded(picture("RGB", MAX_WEBP_PIXELS), "WEBP", method=0, lossless=True, quality=0),
}
LABELS = {"label image, indices": labels_of_indices, "label image, colours": labels_of_colours}


def growth(kind: str, data: bytes) -> int:
    before = start_of_peak()
    if kind in LABELS:
        side = int(MAX_PIXELS**0.5)
        read_labels(data, (side, side), CAMVID)
    else:
        read_photo(data)
    return peak() - before


def main() -> int:
    for kind, make in (PHOTOS | LABELS).items():
        data = make()
        with get_context("spawn").Pool(1) as fresh:
            grown = fresh.apply(growth, (kind, data))
        print(f"{kind}: {grown / 1e6:.0f} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
