"""Labels as other people code them: the class indices that an array of label values stands for."""

from typing import NamedTuple

import numpy as np
import torch

from analysis.capture.description import IGNORE_INDEX
from dnl.classes import LabelSet
from dnl.codings import Coding, CodingQuestion, LabelPixels, content_of, decode, fitting, recognise, together


class CodedLabels(NamedTuple):
    """`labels` as class indices; the coding by which they were read, None where none was looked for; all that fit."""

    labels: np.ndarray | torch.Tensor | None
    coding: Coding | None = None
    choices: tuple[Coding, ...] = ()


def class_indices(
    labels: np.ndarray | torch.Tensor | None, label_set: LabelSet | None, coding: str | None
) -> CodedLabels:
    """The class indices that labels H×W of whole numbers stand for; what are indices already stays as it is.

    coding: the key of their coding (`dnl.codings`), None to recognise it; without a label set values are indices.
    Raises CodingError, ValueError for an unknown key. Values that no coding can have are left for others to refuse.
    """
    if labels is None:
        return CodedLabels(None)
    values = np.asarray(labels.cpu() if isinstance(labels, torch.Tensor) else labels)
    inside = (values >= 0) & (values < 1 << 16)
    held = values[inside].astype(np.uint16)
    if label_set is None:
        if coding is None and set(np.unique(held).tolist()) == {0, IGNORE_INDEX}:
            raise CodingQuestion(f"0 and {IGNORE_INDEX} only, and {IGNORE_INDEX} means ignored: save the object as 1")
        return CodedLabels(labels)
    if held.size == 0 or (~inside & (values != label_set.ignore_index)).any():
        return CodedLabels(labels)
    label = LabelPixels("grey", held[None])
    of_kind = together([content_of(label)]).of_kind
    reading = recognise(of_kind, label_set, coding=coding)
    classes = decode(label, reading)[0]
    found = CodedLabels(labels, reading.coding_of["grey"], fitting(of_kind, label_set))
    if (classes == held).all():
        return found
    read = np.full(values.shape, label_set.ignore_index, np.int64)
    read[inside] = classes
    return found._replace(labels=read)
