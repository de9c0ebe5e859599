"""What the documentation's pages are made of besides their text: the live lens of the first one."""

import sys
from pathlib import Path

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parents[2]))

from analysis import capture_attention
from analysis.lens import pack_capture, standalone_html
from dnl import load_checkpoint
from dnl.datasets import Streets

CHECKPOINT = "camvid-dnl"
SCENE = 4  # of the built-in gallery


def on_files(files, config):
    """The site's files, lens.html among them."""
    files.append(File.generated(config, "lens.html", content=lens_page()))
    return files


def lens_page() -> bytes:
    """The lens of a built-in street, in one file."""
    model, card = load_checkpoint(CHECKPOINT)
    scene = Streets("gallery")[SCENE]
    capture = capture_attention(model, scene.image, labels=scene.labels, name=scene.name)
    provenance = {"model": CHECKPOINT, "image": f"{scene.name}, drawn, not photographed", "version": card["version"]}
    payload = pack_capture(capture, names=(CHECKPOINT,))
    return standalone_html(payload, title="A street and its attention", provenance=provenance)
