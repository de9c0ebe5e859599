"""What a user of the app waits for: capture of an image, one row, the noise of all queries, the lens's payload."""

from collections.abc import Callable

from analysis.capture import capture_attention
from analysis.lens import pack_capture
from analysis.maps import attention_rows
from analysis.measure import MeasureOptions, measure_capture
from dnl import load_checkpoint
from dnl.datasets import Streets


def app_calls() -> dict[str, Callable[[], object]]:
    """The steps on a built-in street with the shipped model."""
    model, _ = load_checkpoint("camvid-dnl")
    street = Streets("val", 1)[0]
    capture = capture_attention(model, street.image, labels=street.labels)
    options = MeasureOptions(precision="float32", controls=())
    middle = capture.height * capture.width // 2
    return {
        "capture of an image": lambda: capture_attention(model, street.image, labels=street.labels),
        "one row, three stages": lambda: attention_rows(capture, queries=[middle]),
        "noise of all queries, three stages": lambda: measure_capture(capture, options, detection=False),
        "payload for the browser": lambda: pack_capture(capture),
    }
