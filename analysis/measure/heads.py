"""The raw noise of each head of each layer of one image, to say which heads stay on their query's class."""

from typing import NamedTuple

from analysis.capture import Capture, Layers, quietly
from analysis.maps import attention_rows, labels_apart
from analysis.noise import image_noise, query_metrics, summarise, times_chance
from analysis.threads import one_thread


class HeadNoise(NamedTuple):
    """The raw map of one head: macro means over the classes of all its queries, None where undefined.

    times_chance: interclass noise over chance, 1 for an even spread. queries: how many have an interclass noise.
    """

    layer: str
    head: int
    interclass_noise: float | None
    times_chance: float | None
    intraclass_noise: float | None
    hollow_fraction: float | None
    queries: int


def noise_of_heads(layers: Layers) -> list[HeadNoise]:
    """One for each head of each layer, in their order.

    Measured against the labels, or else the prediction. Raises ValueError without either, and for weights below 0.
    """
    with one_thread():
        return [
            _of_head(quietly(layer, head), layer.name, head) for layer in layers for head in layer.heads
        ]  # fmt: skip


def _of_head(capture: Capture, layer: str, head: int) -> HeadNoise:
    labels, keys = capture.reference_labels, capture.key_labels
    if labels is None or keys is None:
        raise ValueError(f"{capture.name!r} has neither labels nor a prediction to measure noise against; give labels")
    rows = attention_rows(capture, gate=None, lr_kernel=None).raw
    if rows.min(initial=0) < 0:
        raise ValueError(f"head {head} of {layer!r} has weights below 0, and noise is defined for shares alone")
    queries = range(capture.height * capture.width)
    metrics = query_metrics(
        rows, keys, queries, ignore_index=capture.ignore_index, query_labels=labels_apart(capture)
    )  # fmt: skip
    found = summarise([image_noise({"raw": metrics}, labels, capture.num_classes)], min_cells=1, min_images=1)["raw"]
    return HeadNoise(
        layer,
        head,
        found["interclass_noise"].mean,
        times_chance(found),
        found["intraclass_noise"].mean,
        found["hollow_fraction"].mean,
        found["interclass_noise"].queries,
    )
