"""PNG files written byte by byte: what Pillow reads but does not write."""

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def grey_png(values: np.ndarray, bits: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits a pixel: values H×W, below 2^bits."""
    height, width = values.shape
    digits = (values[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)
    lines = np.packbits(digits.reshape(height, -1), axis=1)
    content = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    return _png(width, height, bits, 0, content)


def sixteen_bit_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel: values H×W×channels, 2 for grey and alpha, 3 for colours, 4 for these with alpha."""
    height, width, channels = values.shape
    content = zlib.compress(b"".join(b"\0" + line.astype(">u2").tobytes() for line in values))
    return _png(width, height, 16, {2: 4, 3: 2, 4: 6}[channels], content)


def _png(width: int, height: int, bits: int, kind: int, content: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
