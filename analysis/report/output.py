"""Everything that a report leaves in its folder, out of the records of its images."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np

from analysis.measure import (
    ImageRecord,
    checkpoint_differences,
    data_set_summary,
    least_images,
    measured_images,
    network_spread,
)
from analysis.options import own_stages
from analysis.report.charts import (
    CLASS_METRICS,
    Chart,
    chart_names,
    class_chart,
    comparison_chart,
    difference_chart,
    group_chart,
    hollow_chart,
    leakage_chart,
    noise_map_figure,
    save_chart,
    stage_chart,
)
from analysis.report.measuring import ReportError, one_class_only
from analysis.report.page import report_page
from analysis.report.paper import paper_tables
from analysis.report.photos import Images
from analysis.report.records import SkippedImage
from analysis.report.tables import (
    write_class_table,
    write_figure_table,
    write_group_table,
    write_image_table,
    write_leakage,
)
from analysis.report.typeset import latex, markdown
from dnl.classes import LabelSet
from dnl.datasets import learnt_from
from dnl.files import TEMPORARY, TEMPORARY_END, write_atomically, write_json
from dnl.network import ModelConfig
from dnl.untrusted import read_json, read_text_file

# Of tables for a paper: the file's ending and what writes it.
FORMATS = {"tex": latex, "md": markdown}
NOISE_MAPS = 6
MOST_DRAWN_GROUPS = 40
# Which files in a report's folder are the report's, so that the next one there can take the place of all of them.
FILE_LIST = Path("records", "files.json")
# Of every report.
ALWAYS = ("summary.json", "report.html", "per_image.csv", "per_class.csv")
# Of a noise map's file, its number and ending apart: file systems take 255 bytes.
MAX_FILE_NAME = 100


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of the report: its name there, its file, its classes, its network's configuration, and the recipes
    that it was trained by. members: checkpoints of one network, such as seeds, that are taken as this one."""

    name: str
    path: Path
    sha256: str
    label_set: LabelSet
    config: dict
    recipes: tuple[Mapping, ...] = ()
    members: tuple["Checkpoint", ...] = ()

    @property
    def networks(self) -> tuple["Checkpoint", ...]:
        """The members, or the checkpoint itself."""
        return self.members or (self,)


def write_report(
    out: Path,
    checkpoints: Sequence[Checkpoint],
    records: Mapping[str, Sequence[ImageRecord | SkippedImage]],
    images: Images,
    provenance: Mapping,
    *,
    min_images: int | None = None,
    formats: Mapping[str, int] = MappingProxyType({}),
) -> dict:
    """Write the report, in place of an earlier one in `out`, and return its summary.

    records: checkpoint name -> one record an image, in the order of `images`; of members as well. provenance: what else
    the figures rest on. min_images: as in `data_set_summary`, by default `least_images`. formats: of FORMATS, how
    tables for a paper are written as well, each with its digits. One checkpoint's summary is flat; several are under
    "checkpoints", with their differences. Raises ReportError where no image can be measured; on an error an earlier
    report is left as it was.
    """
    return put_in_place(out, lambda made: _write(made, checkpoints, records, images, provenance, min_images, formats))


def put_in_place(out: Path, write: Callable[[Path], dict]) -> dict:
    """Let `write` fill a folder, and put its files in place of an earlier report's in `out`; returns what it does.

    On an error, such as a ReportError for a file of somebody else's that is in the way, an earlier report is left as it
    was.
    """
    for left in out.glob(f"{TEMPORARY}*{TEMPORARY_END}"):  # what a killed process has left
        shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(dir=out, prefix=TEMPORARY, suffix=TEMPORARY_END))
    try:
        summary = write(made)
        _move(made, out)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return summary


def require_room(out: Path, names: Iterable[str] = ALWAYS) -> None:
    """Raise ReportError where a file that a report would write into `out` is there and of no earlier report."""
    own = set(_listed_files(out))
    for name in names:
        if name in own:
            continue
        folders = [folder for folder in (out / name).parents if folder.is_relative_to(out)]
        in_the_way = next((folder for folder in folders if folder.exists() and not folder.is_dir()), None)
        if in_the_way is None and os.path.lexists(out / name):
            in_the_way = out / name
        if in_the_way is not None:
            raise ReportError(
                f"{in_the_way} is there and of no earlier report, so that nothing was written over; move it away, or "
                "choose another --out"
            )


def _move(made: Path, out: Path) -> None:
    """Move the files in `made` to `out`, and remove those of the report before that have no successor."""
    new = sorted(file.relative_to(made).as_posix() for file in made.rglob("*") if file.is_file())
    require_room(out, new)
    (out / FILE_LIST).parent.mkdir(exist_ok=True)
    old = _listed_files(out)
    write_json(out / FILE_LIST, sorted({*old, *new}))  # so that no file is forgotten if this ends halfway
    for name in new:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(made / name, out / name)
    for name in set(old) - set(new):
        (out / name).unlink(missing_ok=True)
    for folder in {(out / name).parent for name in old} - {out}:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    write_json(out / FILE_LIST, new)


def _listed_files(out: Path) -> list[str]:
    """The files of the report in `out`, as they are listed there; nothing outside of it.

    Raises ReportError where the list is no such list: it may be anybody's.
    """
    file = out / FILE_LIST
    if not os.path.lexists(file):
        return []
    try:
        names = read_json(read_text_file(file))
        if not isinstance(names, list):
            raise ValueError("it is no list")
    except ValueError as error:
        raise ReportError(
            f"{file} does not list the files of an earlier report ({error}); move it away, or choose another --out"
        ) from error
    inside = out.resolve()
    return [name for name in names if isinstance(name, str) and (out / name).resolve().is_relative_to(inside)]


def _write(
    out: Path,
    checkpoints: Sequence[Checkpoint],
    records: Mapping[str, Sequence[ImageRecord | SkippedImage]],
    images: Images,
    provenance: Mapping,
    min_images: int | None,
    formats: Mapping[str, int],
) -> dict:
    class_names = checkpoints[0].label_set.class_names
    kept = {checkpoint.name: _measured(records[checkpoint.name]) for checkpoint in checkpoints}
    summaries = {
        checkpoint.name: _summary(checkpoint, records, kept[checkpoint.name], provenance, min_images)
        for checkpoint in checkpoints
    }
    several = len(checkpoints) > 1
    first = summaries[checkpoints[0].name]
    differences = None
    if several:
        differences = checkpoint_differences(kept, len(class_names), class_names=class_names, **first["limits"])
    summary = {"checkpoints": summaries, "checkpoint_differences": differences} if several else first

    write_json(out / "summary.json", summary)
    _write_tables(out, summaries, differences, formats)
    networks = [network for checkpoint in checkpoints for network in checkpoint.networks]
    of_networks = {network.name: records[network.name] for network in networks}
    write_image_table(out / "per_image.csv", of_networks)
    hashes = {network.name: network.sha256 for network in networks}
    write_class_table(out / "per_class.csv", of_networks, class_names, hashes)
    classes, names = chart_names(class_names, "class"), chart_names(summaries, "checkpoint", first=1)
    groups = chart_names(dict.fromkeys(name for own in summaries.values() for name in own["groups"]), "group", first=1)
    charts, maps = {}, {}
    for name, own in summaries.items():
        folder = out / name if several else out
        charts[name] = _charts(own, class_names, classes.texts, folder)
        if 1 < len(own["groups"]) <= MOST_DRAWN_GROUPS:
            draw_groups = partial(group_chart, own, groups.texts)
            charts[name]["groups"] = save_chart(folder / "charts" / "groups", draw_groups, groups.texts.values())
        maps[name] = _noise_maps(records[name], images, folder / "noise_maps")
    if several:
        (out / "charts").mkdir(exist_ok=True)
        draw = partial(comparison_chart, summaries, names.texts)
        comparison = save_chart(out / "charts" / "comparison", draw, names.texts.values())
        charts[""] = {"comparison": comparison}
    page = report_page(
        summaries,
        charts,
        maps,
        title=f"Attention noise of {' and '.join(summaries)}",
        subject=_data_set(provenance),
        facts=_facts(provenance, checkpoints),
        comparison=differences,
        key=classes.key | names.key | groups.key,
    )
    write_atomically(out / "report.html", lambda file: file.write_text(page, encoding="utf-8"))
    return summary


def _write_tables(
    out: Path, summaries: Mapping[str, Mapping], differences: Mapping | None, formats: Mapping[str, int]
) -> None:
    """The tables that are made of summaries, among them those for a paper. formats: as in `write_report`."""
    write_group_table(out / "per_group.csv", summaries)
    write_figure_table(out / "figures.csv", summaries, differences)
    for ending, digits in formats.items():
        text = FORMATS[ending](paper_tables(summaries, differences), digits)
        write_atomically(out / f"tables.{ending}", partial(Path.write_text, data=text, encoding="utf-8"))


def _facts_of_checkpoint(checkpoint: Checkpoint) -> dict:
    facts: dict = {"name": checkpoint.name, "sha256": checkpoint.sha256}
    if checkpoint.members:
        facts["members"] = [{"name": member.name, "sha256": member.sha256} for member in checkpoint.members]
    return facts


def _facts_of_model(config: Mapping) -> dict:
    """The network's context, its gate and its LR window; None for what it does not have, whatever its card says."""
    network = ModelConfig(**config)
    return {
        "context": network.context,
        "gate": network.gate if network.uses_gate else None,
        "lr_kernel": network.lr_kernel if network.uses_retention else None,
    }


def _measured(records: Sequence[ImageRecord | SkippedImage]) -> list[ImageRecord]:
    """The records with figures; ReportError where there is none, or nothing that interclass noise could be about."""
    measured = [record for record in records if isinstance(record, ImageRecord)]
    skipped = [record for record in records if isinstance(record, SkippedImage)]
    if not measured:
        raise ReportError(
            f"none of the {len(records)} images can be measured, {skipped[0].name} the first ({skipped[0].reason}); "
            "choose other images, or --labels prediction where only labels are wanting"
        )
    if all(len(record.classes) < 2 for record in measured):
        raise one_class_only(len(measured))
    return measured


def _summary(
    checkpoint: Checkpoint,
    records: Mapping[str, Sequence[ImageRecord | SkippedImage]],
    measured: Sequence[ImageRecord],
    provenance: Mapping,
    min_images: int | None,
) -> dict:
    """A checkpoint's summary with its provenance. records: of all. measured: those of its own that have figures."""
    least = least_images(len(measured)) if min_images is None else min_images
    skipped = [record for record in records[checkpoint.name] if isinstance(record, SkippedImage)]
    class_names, split = checkpoint.label_set.class_names, provenance["split"] or ""
    learnt = any(learnt_from(network.recipes, provenance["dataset"], split) for network in checkpoint.networks)
    summary = {
        "provenance": {
            **provenance,
            "checkpoint": _facts_of_checkpoint(checkpoint),
            "learnt_from": learnt,
            "images": measured_images(measured),
            "model": _facts_of_model(checkpoint.config),
        },
        **data_set_summary(measured, class_names, min_images=least),
        "images_of_one_class": sum(len(record.classes) < 2 for record in measured),
        "images_skipped": {record.name: record.reason for record in skipped},
    }
    if checkpoint.members:
        members = {member.name: _measured(records[member.name]) for member in checkpoint.members}
        summary["networks"] = network_spread(members, len(class_names), **summary["limits"])
    return summary


def _charts(summary: Mapping, class_names: Sequence[str], texts: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Write a checkpoint's charts and leakage matrices; chart name -> inline SVG. texts: of the classes in charts."""
    drawings: dict[str, Callable[[], Chart]] = {
        "stages": partial(stage_chart, summary),
        "hollow_curve": partial(hollow_chart, summary),
    }
    if summary["differences"]:
        drawings["differences"] = partial(difference_chart, summary["differences"])
    for metric in CLASS_METRICS:
        if summary["stages"]["raw"][metric]["mean"] is not None:
            drawings[f"classes_{metric}"] = partial(class_chart, summary, metric, texts)
    for stage in own_stages(summary["stages"]):
        drawings[f"leakage_{stage}"] = partial(leakage_chart, summary["leakage"][stage], class_names, stage, texts)
    (folder / "charts").mkdir(parents=True, exist_ok=True)
    for stage, matrix in summary["leakage"].items():
        write_leakage(folder / f"leakage_{stage}.csv", matrix, class_names)
    return {name: save_chart(folder / "charts" / name, draw, texts.values()) for name, draw in drawings.items()}


def _noise_maps(records: Sequence[ImageRecord | SkippedImage], images: Images, folder: Path) -> list[tuple[str, str]]:
    """Draw the images with the highest mean raw interclass noise, noisiest first: (image name, inline SVG)."""
    noise = {
        index: float(np.nanmean(record.noise_maps["raw"]))
        for index, record in enumerate(records)
        if isinstance(record, ImageRecord) and np.isfinite(record.noise_maps["raw"]).any()
    }
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for place, index in enumerate(sorted(noise, key=lambda index: (-noise[index], index))[:NOISE_MAPS], start=1):
        record = records[index]
        assert isinstance(record, ImageRecord)
        file = folder / f"{place:02d}-{re.sub(r'[^A-Za-z0-9._-]+', '_', record.name)[:MAX_FILE_NAME]}"
        svg = save_chart(file, partial(noise_map_figure, images[index].image, record))
        pictures.append((f"{record.name}: mean {noise[index]:.3f}, raw", svg))
    return pictures


def _data_set(provenance: Mapping) -> str:
    words = ", ".join(filter(None, (provenance["dataset"], provenance["split"])))
    return f"{words} (the first {provenance['limit']})" if provenance["limit"] else words


def _facts(provenance: Mapping, checkpoints: Sequence[Checkpoint]) -> list[tuple[str, str]]:
    facts = [
        (f"checkpoint {network.name}", f"SHA-256 {network.sha256}, context {network.config.get('context')}")
        for checkpoint in checkpoints
        for network in checkpoint.networks
    ]
    options = ", ".join(f"{name} {value}" for name, value in provenance["options"].items())
    return [*facts, ("data set", _data_set(provenance)), ("options", options), ("version", provenance["version"])]
