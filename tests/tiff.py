"""TIFF files written byte by byte: what Pillow reads but does not write."""

import struct

import numpy as np

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
SHORT, LONG = 3, 4
UNSIGNED, SIGNED = 1, 2


def tiff(values: np.ndarray, photometric: int, planes: int = 1) -> bytes:
    """An uncompressed little-endian TIFF file of one page: values H×W or H×W×3, integers of 8 or 16 bits.

    planes: 2 declares that the channels lie apart, which `values` of one channel do anyway.
    """
    height, width, channels = (*values.shape, 1)[:3]
    bits, sign = 8 * values.dtype.itemsize, SIGNED if values.dtype.kind == "i" else UNSIGNED
    pixels = values.astype(values.dtype.newbyteorder("<")).tobytes() + b"\0" * (values.nbytes % 2)
    bits_of_channels = struct.pack(f"<{channels}H", *[bits] * channels)
    begin = 8 + len(bits_of_channels)
    entries = [
        (256, LONG, 1, width),
        (257, LONG, 1, height),
        (258, SHORT, channels, bits if channels == 1 else 8),  # of several channels the place where they lie
        (259, SHORT, 1, 1),
        (262, SHORT, 1, photometric),
        (273, LONG, 1, begin),
        (277, SHORT, 1, channels),
        (278, LONG, 1, height),
        (279, LONG, 1, values.nbytes),
        (284, SHORT, 1, planes),
        (339, SHORT, 1, sign),
    ]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<I", begin + len(pixels))
    return head + bits_of_channels + pixels + struct.pack("<H", len(entries)) + directory + struct.pack("<I", 0)
