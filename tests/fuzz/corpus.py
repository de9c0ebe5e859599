"""Well-formed files of every kind that a user may bring, and ways to spoil them."""

import functools
import io
import json
import struct
import zipfile
import zlib

import numpy as np
import safetensors.torch
import torch
from hypothesis import strategies as st
from PIL import Image, features

from dnl import ModelConfig, build_model
from dnl.checkpoints import save_checkpoint
from dnl.classes import CAMVID

# Names that mean something to a shell, a page, a formula, a path or a terminal.
HOSTILE_NAMES = (
    "<script>window.ran = 1</script>",
    '"><img src=x onerror="window.ran = 1">',
    "<svg/onload=window.ran=1>",
    "'-->]]></style><script>window.ran=1</script>",
    "javascript:window.ran=1",
    "$\\frac{1}{$",
    "$x^{2}$",
    "![x](http://192.0.2.1/x.png)",
    "{{7*7}} ${7*7} %s %n {0}",
    "../../../etc/passwd",
    "a\x1b[31mred\x07",
    "‮abc",
    "\u200b",
    "=HYPERLINK(1)",
    "name\nwith\r\nlines",
    "é" * 90,
)


def encoded(picture: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(width: int, height: int, depth: int, colour: int, pixels: bytes, *extra: bytes) -> bytes:
    """A PNG file that declares whatever one likes."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [png_chunk(b"IHDR", header), *extra, png_chunk(b"IDAT", pixels), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff_with(width: int, height: int, pixels: bytes) -> bytes:
    """A TIFF file of one zlib strip that declares whatever one likes."""
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: height, 279: len(pixels)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = 8 + len(pixels)
    return b"II*\0" + struct.pack("<I", start) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


def bmp_header(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, width, height, 1, 24, *[0] * 6)


def images() -> list[bytes]:
    """Photos of every format and mode."""
    colours = np.random.default_rng(0).integers(0, 256, (40, 56, 4), np.uint8)
    picture = Image.fromarray(colours)
    turned = Image.Exif()
    turned[0x0112] = 6
    turned[0x010E] = "a picture"
    found = [encoded(picture.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
    found.append(encoded(picture.convert("P"), "PNG", transparency=3, interlace=1))
    found += [encoded(picture.convert(mode), "JPEG", exif=turned) for mode in ("L", "RGB", "CMYK")]
    found.append(encoded(picture.convert("RGB"), "JPEG", progressive=True, comment=b"<script>"))
    found += [encoded(picture, "WEBP", lossless=True, exif=turned), encoded(picture.convert("RGB"), "WEBP")]
    found.append(encoded(picture, "WEBP", save_all=True, append_images=[picture] * 2))
    found += [encoded(picture.convert(mode), "TIFF", exif=turned) for mode in ("1", "P", "RGB", "RGBA", "CMYK", "I;16")]
    found += [encoded(picture.convert("RGB"), "TIFF", compression=name) for name in ("tiff_lzw", "jpeg", "packbits")]
    found.append(encoded(picture, "TIFF", save_all=True, append_images=[picture] * 2))
    found += [encoded(picture.convert(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")]
    if features.check("avif"):
        found += [encoded(picture, "AVIF", exif=turned), encoded(picture.convert("RGB"), "AVIF", quality=20)]
    return found


def label_images() -> list[bytes]:
    """Label images as tools export them: values, palettes, colours, masks, in all formats that are read."""
    values = np.zeros((40, 56), np.uint8)
    values[10:, :20], values[25:, 20:] = 3, 7
    grey, shown = Image.fromarray(values), Image.fromarray(values)
    shown.putpalette([part for colour in CAMVID.palette for part in colour])
    found = [encoded(picture, format) for picture in (grey, shown) for format in ("PNG", "TIFF", "BMP")]
    found += [encoded(Image.fromarray(CAMVID.colour(values)), format) for format in ("PNG", "TIFF", "BMP")]
    found.append(encoded(Image.fromarray(CAMVID.colour(values)).convert("RGBA"), "PNG"))
    found.append(encoded(Image.fromarray(values.astype(np.uint16) * 1000), "PNG"))
    found.append(encoded(Image.fromarray(values.astype(np.float32)), "TIFF"))
    found.append(encoded(Image.fromarray((values > 0).astype(np.uint8) * 255), "PNG"))
    found.append(encoded(Image.fromarray(values * 10).resize((56, 40), Image.Resampling.BICUBIC), "PNG"))
    return found


@functools.cache
def bombs() -> dict[str, bytes]:
    """Small files that declare or unpack to far more than they are."""
    zeros = zlib.compress(bytes(64 * 2**20), 9)
    return {
        "png of 2^31 pixels a side": png_with(2**31 - 1, 2**31 - 1, 8, 2, b""),
        "png of 60000×60000": png_with(60_000, 60_000, 8, 2, zeros),
        "png of 7000×7000 in 16 bits": png_with(7000, 7000, 16, 0, zeros),
        "png of 7000×7000 in colour": png_with(7000, 7000, 8, 2, zeros),
        "png of one line": png_with(50_000_000, 1, 8, 0, zeros),
        "png with a text bomb": png_with(40, 40, 8, 0, zeros, png_chunk(b"zTXt", b"x\0\0" + zeros)),
        "png with a profile bomb": png_with(40, 40, 8, 0, zeros, png_chunk(b"iCCP", b"x\0\0" + zeros)),
        "png with an endless chunk": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**31 - 1) + b"IHDR" + bytes(40),
        "tiff of 60000×60000": tiff_with(60_000, 60_000, zeros),
        "tiff of 7000×7000 in a strip of nothing": tiff_with(7000, 7000, b""),
        "bmp of 2^31 pixels a side": b"BM"
        + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, *[0] * 6),
        "webp of 16383×16383": encoded(Image.new("RGB", (16383, 4000)), "WEBP", method=0),
    }


def polyglots() -> dict[str, bytes]:
    """Files that are two things at once."""
    png = images()[4]
    page = b"<html><script>window.ran = 1</script></html>"
    archive = npz({"query": np.ones((4, 2), np.float32)})
    return {
        "png and page": png + page,
        "png and archive": png + archive,
        "gif and page": b"GIF89a/*" + page + b"*/",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="window.ran = 1"/>',
        "pdf": b"%PDF-1.7\n" + page,
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "tiff": encoded(Image.new("RGB", (40, 40)), "TIFF"),
        "archive and png": archive + png,
        "nothing": b"",
        "pickle": b"\x80\x04\x95.",
    }


def npz(arrays: dict, **options) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays, **options)
    return file.getvalue()


def capture_arrays() -> dict[str, np.ndarray]:
    """Everything that a capture file may hold, of 3×4 cells and two heads."""
    rng = np.random.default_rng(0)
    probs = rng.random((3, 3, 4)).astype(np.float32)
    return {
        "query": rng.normal(size=(2, 13, 5)).astype(np.float32),
        "key": rng.normal(size=(2, 13, 5)).astype(np.float32),
        "height": np.array(3),
        "width": np.array(4),
        "scale": np.array(0.25),
        "class_tokens": np.array(1),
        "class_probs": probs / probs.sum(axis=0),
        "image": rng.integers(0, 256, (12, 16, 3), np.uint8),
        "labels": rng.integers(0, 3, (12, 16), np.uint8),
        "prediction": rng.integers(0, 3, (3, 4)),
    }


CAPTURE_METADATA = {
    "name": "a capture",
    "class_names": ["one", "two", "three"],
    "palette": [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
    "ignore_index": 255,
    "label_set": "mine",
    "gate": "sigmoid",
    "lr_kernel": 3,
    "lr_weights": "learnt",
}


def capture_npz(arrays: dict | None = None, metadata: object = CAPTURE_METADATA) -> bytes:
    return npz((capture_arrays() if arrays is None else arrays) | {"metadata": np.array(json.dumps(metadata))})


def capture_safetensors(arrays: dict | None = None, metadata: object = CAPTURE_METADATA) -> bytes:
    arrays = capture_arrays() if arrays is None else arrays
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    return safetensors.torch.save(tensors, {"metadata": json.dumps(metadata)})


LAYERS_METADATA = CAPTURE_METADATA | {
    "format": 2,
    "gate": None,
    "layers": {"blocks.3": {"heads": [1, 4], "placement": "blocks", "crop": [0, 0, 12, 16], "notes": ["a note"]}},
}


def layers_arrays() -> dict[str, np.ndarray]:
    """Everything that a file of two layers may hold, the second one finished maps."""
    rng = np.random.default_rng(1)
    shared = {name: array for name, array in capture_arrays().items() if name not in ("query", "key", "class_probs")}
    return shared | {
        "blocks.3/query": rng.normal(size=(2, 13, 5)).astype(np.float32),
        "blocks.3/key": rng.normal(size=(2, 13, 5)).astype(np.float32),
        "stage/2/attention": rng.dirichlet(np.ones(6), (2, 12)).astype(np.float32),
        "stage/2/key_height": np.array(2),
        "stage/2/key_width": np.array(3),
        "stage/2/class_tokens": np.array(0),
        "stage/2/dropped": rng.random((2, 3, 4)).astype(np.float32),
    }


def checkpoint(folder) -> bytes:
    """A small network with every entry of a card."""
    torch.manual_seed(0)
    model = build_model(ModelConfig("resnet18", 8, 11, attention_stride=8, gamma_init=0.5))
    model.label_set = CAMVID
    names = ("intraclass_noise", "hollow_fraction", "kept_mass")
    noise = {"interclass_noise": {"mean": 0.2, "chance": 0.9}} | {name: {"mean": 0.3} for name in names}
    card = {
        "name": "small",
        "recipe": {"name": "camvid_dnl", "epochs": 3, "learning_rate": 0.01},
        "data": "CamVid",
        "licence": "none",
        "training_history": ["started"],
        "metrics": {
            "camvid_val": {"miou": 0.5, "pixel_accuracy": 0.8, "iou": dict.fromkeys(CAMVID.class_names, 0.5)},
            "gamma": 0.5,
            "attention": {"raw": noise, "query_dependence": 0.5, "effective_keys": 5.0},
            "gates": {"sigmoid": {"rectified": noise, "retained": noise}},
        },
    }
    path = folder / "small.safetensors"
    save_checkpoint(path, model, card)
    return path.read_bytes()


def split_safetensors(data: bytes) -> tuple[dict, bytes]:
    """Header and tensors of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join_safetensors(header: object, body: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def zipped(files: dict, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


# --- ways to spoil ---------------------------------------------------------------------------------------------------

# JSON of any kind, with numbers, names and nestings that people do not write.
NUMBERS = st.sampled_from([0, -1, 1, 2, 3, 255, 256, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, 1e400, float("nan")])
TEXTS = st.text(max_size=8) | st.sampled_from([*HOSTILE_NAMES, "", "\ud800", "x" * 5000, "\0", "CON", "a/b"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | NUMBERS | TEXTS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)
# Texts that are not quite JSON.
JSON_TEXTS = st.sampled_from(
    [b"", b"{", b"[" * 100_000, b'{"a":' * 50_000, b"1" * 10_000, b"NaN", b"\xff\xfe{}", b"null", b'"\\ud800"', b"{}x"]
)


EXTREMES = [b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0"]


@st.composite
def spoilt(draw, files) -> bytes:
    """One of `files`, with bytes changed, cut off, repeated or put in."""
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        # Most of what can go wrong is decided at the beginning.
        place = draw(st.integers(0, len(data) - 1) | st.integers(0, min(len(data), 200) - 1))
        match draw(st.integers(0, 5)):
            case 0:
                data[place] = draw(st.integers(0, 255))
            case 1:
                del data[place:]
            case 2:
                del data[place : place + draw(st.integers(1, 64))]
            case 3:
                data[place:place] = draw(st.binary(min_size=1, max_size=32))
            case 4:
                data[place : place + 4] = draw(
                    st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0"])
                )
            case 5:
                data[place:place] = data[place : place + draw(st.integers(1, 200))]
    return bytes(data)


@st.composite
def altered(draw, value):
    """A copy of a JSON value in which one to three entries, at any depth, are changed, dropped or added."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        value = draw(_altered_once(value))
    return value


def _altered_once(value):
    if not isinstance(value, dict | list) or not value:
        return JSON

    @st.composite
    def inside(draw):
        copy = value.copy()
        keys = list(copy) if isinstance(copy, dict) else list(range(len(copy)))
        key = draw(st.sampled_from(keys))
        match draw(st.integers(0, 7)):
            case 0:
                del copy[key]
            case 1:
                copy[key] = draw(JSON)
            case 2 if isinstance(copy, dict):
                copy[draw(TEXTS)] = draw(JSON)
            case 2:
                copy.insert(key, draw(JSON))
            case _:
                copy[key] = draw(_altered_once(copy[key]))
        return copy

    return inside()
