"""The Noise report's measuring: cached by content, image by image, so that it can be watched and cancelled."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from analysis.capture import Capture
from analysis.lens import map_options
from analysis.measure import (
    ImageRecord,
    ImageReport,
    MeasureOptions,
    data_set_summary,
    image_record,
    least_images,
    measure_capture,
    measured_images,
)
from analysis.report import write_class_table
from dnl import __version__
from pages.parts.app.session import give_way
from pages.parts.app.words import as_sentence
from pages.parts.noise_report.choices import Job
from pages.parts.subjects.captures import captured
from pages.parts.subjects.models import Model, model_with_attention
from pages.parts.subjects.pictures import Picture, picture_at


@dataclass
class Work:
    """How far a job is, kept in the session. Keys: (checkpoint, index of the place).

    class_names, hashes: of each checkpoint, which may be gone by the time its figures are shown; hashes are the SHA-256
    of their files. failures: sentences for a notice.
    """

    job: Job
    class_names: dict[str, tuple[str, ...]]
    hashes: dict[str, str]
    cancelled: bool = False
    records: dict[tuple[str, int], ImageRecord] = field(default_factory=dict)
    failures: dict[tuple[str, int], str] = field(default_factory=dict)
    summaries: dict[tuple, dict] = field(default_factory=dict)
    comparisons: dict[tuple, dict] = field(default_factory=dict)

    @property
    def several(self) -> bool:
        """Whether the job is on several images."""
        return len(self.job.places) > 1

    def missing(self) -> list[tuple[str, int]]:
        """What is still to be measured; all checkpoints of an image before the next image."""
        tasks = [(name, index) for index in range(len(self.job.places)) for name in self.job.models]
        return [task for task in tasks if task not in self.records and task not in self.failures]


# --- cached work -----------------------------------------------------------------------------------------------------


def _report(
    model_key: str,
    picture_key: str,
    choices: Mapping,
    labels: str,
    detection: bool,
    _model: Model,
    _picture: Picture,
) -> ImageReport:
    capture, _ = captured(_model, _picture)
    options = MeasureOptions(**map_options(capture, choices).as_dict(), labels=labels)
    return measure_capture(capture, options, detection=detection, progress=lambda share: give_way())


def _record(
    model_key: str,
    picture_key: str,
    choices: Mapping,
    labels: str,
    detection: bool,
    _model: Model,
    _picture: Picture,
) -> ImageRecord:
    return image_record(_measured(_model, _picture, choices, labels, detection))


_report_for_all = st.cache_data(_report, max_entries=12, show_spinner=False)
_report_for_one = st.cache_data(_report, max_entries=4, show_spinner=False, scope="session")
_record_for_all = st.cache_data(_record, max_entries=1000, show_spinner=False)
_record_for_one = st.cache_data(_record, max_entries=100, show_spinner=False, scope="session")


def _measured(model: Model, picture: Picture, choices: Mapping, labels: str, detection: bool) -> ImageReport:
    run = _report_for_one if picture.private else _report_for_all
    return run(model.key, picture.content_hash(), choices, labels, detection, model, picture)


# --- a job -----------------------------------------------------------------------------------------------------------


def image_of(job: Job, name: str, index: int) -> tuple[Capture, ImageReport]:
    """One image of the job as one checkpoint sees it, with the metrics of its queries (without AUC and AP).

    Raises ValueError where it cannot be had, and so does `record_of`.
    """
    model, picture, labels = _task(job, name, index)
    return captured(model, picture)[0], _measured(model, picture, job.choices, labels, False)


def record_of(job: Job, name: str, index: int, *, detection: bool) -> ImageRecord:
    """What one image contributes."""
    model, picture, labels = _task(job, name, index)
    run = _record_for_one if picture.private else _record_for_all
    record = run(model.key, picture.content_hash(), job.choices, labels, detection, model, picture)
    return dataclasses.replace(record, **picture.origin._asdict())


def _task(job: Job, name: str, index: int) -> tuple[Model, Picture, str]:
    model = model_with_attention(name)
    picture = picture_at(job.places[index], model.network.label_set)
    return model, picture, "prediction" if picture.labels is None else job.labels


def carry_on(work: Work, tell: Callable[[int], None] | None = None) -> None:
    """Measure what is missing and keep it in `work`. tell: called with the number of the finished tasks after each.

    A click on the page ends it here, between two steps; what is finished stays.
    """
    for name, index in work.missing():
        try:
            work.records[name, index] = record_of(work.job, name, index, detection=True)
        except ValueError as error:
            work.failures[name, index] = as_sentence(error)
        if tell is not None:
            tell(len(work.records) + len(work.failures))


def first_records(work: Work) -> dict[tuple[str, int], ImageRecord]:
    """The records of a job on one image without AUC and AP, which take longer than all the rest."""
    found = {}
    for name, index in work.missing():
        try:
            found[name, index] = record_of(work.job, name, index, detection=False)
        except ValueError as error:
            work.failures[name, index] = as_sentence(error)
    return found


def summary_of(records: Sequence[ImageRecord], class_names: Sequence[str]) -> dict:
    """The figures of one checkpoint, as the command line's summary.json has them."""
    return data_set_summary(records, class_names, min_images=least_images(len(records)))


def with_provenance(work: Work, name: str, summary: dict, records: Sequence[ImageRecord]) -> dict:
    """One checkpoint's summary and, as in the command line's summary.json, what it was made of."""
    provenance = {
        "version": __version__,
        "definitions": "this project's own",
        "checkpoint": {"name": name, "sha256": work.hashes[name]},
        "images": measured_images(records),
        "options": {**records[0].options, "labels": work.job.labels},
    }
    return {"provenance": provenance, **summary}


def summary_json(work: Work, name: str, summary: dict, records: Sequence[ImageRecord]) -> str:
    """One checkpoint's summary with its provenance, as JSON."""
    return json.dumps(with_provenance(work, name, summary, records), indent=2, ensure_ascii=False) + "\n"


def class_csv(work: Work, name: str, records: Sequence[ImageRecord]) -> str:
    """The command line's per_class.csv for one checkpoint: a row for each image, stage and class."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "per_class.csv"
        write_class_table(path, {name: records}, work.class_names[name], work.hashes)
        return path.read_text(encoding="utf-8")
