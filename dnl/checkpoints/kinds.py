"""What a file is that is given for weights, by its first bytes: its name may say anything."""

from typing import NamedTuple

# What is looked at. In the archives of torch.save the first entry is named by then.
BEGINNING = 1024


class Kind(NamedTuple):
    """words: what such a file is, as the end of a sentence that begins with its name. torch: whether torch reads it."""

    words: str
    torch: bool = False


TORCH = Kind(
    "a file of torch.save: checkpoints here are .safetensors files with a card; dnl.checkpoints.load_reference reads "
    "weights alone, and save_checkpoint saves the network with its card",
    torch=True,
)
EMPTY = Kind("empty; copy or download it again")
ZIP = Kind("a zip archive without weights of torch.save; unpack it first")
OTHERS = (
    (b"\x80", TORCH),  # a pickle
    (b"version https://git-lfs", Kind("a pointer of Git LFS in place of the file; fetch that with `git lfs pull`")),
    (b"<", Kind("a web page in place of a file; download it again, by the address of the file itself")),
    (b"{", Kind("a JSON text, such as the list of a file's parts; give one .safetensors file that holds all weights")),
    (b"\x1f\x8b", Kind("packed by gzip; unpack it first")),
    (b"\x89HDF", Kind("an HDF5 file, as Keras writes them; weights here are .safetensors files or torch's")),
)


def kind_of(content: bytes) -> Kind | None:
    """The kind of a file that begins so, None where it is safetensors or unknown."""
    if not content:
        return EMPTY
    if content[8:9] == b"{":  # safetensors: the length of the header, which may be any bytes, and the header
        return None
    beginning = content[:BEGINNING]
    if beginning.startswith(b"PK"):
        return TORCH if b"/data.pkl" in beginning else ZIP
    return next((kind for mark, kind in OTHERS if beginning.lstrip().startswith(mark)), None)
