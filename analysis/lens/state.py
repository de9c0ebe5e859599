"""What the lens reports of its user's pins and choices, read against the capture that it shows."""

from analysis.capture import Capture
from analysis.lens.payload import image_id, starting_pixel
from analysis.maps import DEFAULT_LR_KERNEL, GATES


def chosen_pixel(capture: Capture, pins: dict | None) -> tuple[int, int]:
    """The pixel (y, x) that is pinned on this image, else the starting pixel.

    pins: image id -> [[y, x], …], or None before the first click. A pin off the image does not count.
    """
    height, width = capture.image.shape[:2]
    for y, x in (pins or {}).get(image_id(capture), [])[:1]:
        if 0 <= y < height and 0 <= x < width:
            return int(y), int(x)
    return starting_pixel(capture)


def row_options(capture: Capture, choices: dict | None) -> dict:
    """Keyword arguments of `attention_rows` for the user's choices; the model's own where one cannot be had.

    choices: {"gate": "off", one of GATES or None, "retention": "off", "learnt", "box" or None}, where None means that
    nothing was chosen; or None before any choice.
    """
    choices = choices or {}
    options = {"gate": capture.gate, "lr_kernel": capture.lr_kernel, "lr_weights": capture.lr_weights}
    gate, retention = choices.get("gate"), choices.get("retention")
    if gate == "off":
        options["gate"] = None
    elif gate in GATES and (capture.class_probs if gate != "oracle" else capture.labels) is not None:
        options["gate"] = gate
    if retention == "off":
        options["lr_kernel"] = None
    elif retention == "box" or (retention == "learnt" and capture.query is not None):
        options["lr_kernel"] = capture.lr_kernel or DEFAULT_LR_KERNEL
        options["lr_weights"] = retention
    return options
