"""The checkpoints of a report: names and files to networks, and several networks, such as seeds, taken as one."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from analysis.measure import ImageRecord, pooled
from analysis.report.measuring import ReportError
from analysis.report.output import Checkpoint
from analysis.report.records import SkippedImage
from dnl.checkpoints import checkpoint_hash, checkpoint_path, label_set_of, read_card, recipes_of

Records = Sequence[ImageRecord | SkippedImage]


def open_networks(names: Sequence[str]) -> list[Checkpoint]:
    """What a report compares: a checkpoint for each name, or several taken as one.

    names: a listed name or file; several of them with commas between, or a folder of .safetensors files, are one
    checkpoint whose `members` they are. Raises ValueError where one has no place in a report, or where members are
    different networks.
    """
    files = [_members_of(name) for name in names]
    single = open_checkpoints([file for members in files for file in members])
    taken = {checkpoint.name for checkpoint in single}
    left, networks = iter(single), []
    for name, of_name in zip(names, files, strict=True):
        members = [next(left) for _ in of_name]
        own = members[0] if len(members) == 1 else _as_one(name, members, taken)
        taken.add(own.name)
        networks.append(own)
    return networks


def open_checkpoints(names: Sequence[str]) -> list[Checkpoint]:
    """The checkpoints of a report, each under a name of its own. Raises ValueError where one has no place there."""
    checkpoints: list[Checkpoint] = []
    for name in names:
        path, card = checkpoint_path(name), read_card(name)
        label_set, sha256 = label_set_of(card), checkpoint_hash(name)
        if card["config"].get("context") == "fcn":
            raise ReportError(f"{name} has no attention block (context fcn); choose checkpoints with context nl … dnl")
        if any(sha256 == other.sha256 for other in checkpoints):
            raise ReportError(f"{name} is given twice; name each checkpoint once")
        twin = any(path.stem == other.name for other in checkpoints)
        own_name = f"{path.stem}-{sha256[:8]}" if twin else path.stem
        checkpoints.append(Checkpoint(own_name, path, sha256, label_set, card["config"], recipes_of(card)))
    return checkpoints


def pooled_records(network: Checkpoint, records: Mapping[str, Records]) -> Records:
    """The records of a network out of those of its members; of one without members its own.

    records: checkpoint name -> its records, in the order of images. An image that one member skips is skipped.
    """
    if not network.members:
        return records[network.name]
    together: list[ImageRecord | SkippedImage] = []
    for of_image in zip(*(records[member.name] for member in network.members), strict=True):
        skipped = next((record for record in of_image if isinstance(record, SkippedImage)), None)
        together.append(skipped or pooled([record for record in of_image if isinstance(record, ImageRecord)]))
    return together


def _members_of(name: str) -> list[str]:
    path = Path(name)
    if path.is_dir():
        found = sorted(str(file) for file in path.glob("*.safetensors"))
        if not found:
            raise ReportError(f"{name} holds no .safetensors file; name a folder of checkpoints, or the files")
        return found
    if "," not in name or path.exists():
        return [name]
    members = [member.strip() for member in name.split(",")]
    if not all(members):
        raise ReportError(f"{name!r} has an empty name beside a comma; write a,b,c")
    return members


def _as_one(name: str, members: Sequence[Checkpoint], taken: Collection[str]) -> Checkpoint:
    """Several checkpoints as one, under a name that is not taken."""
    first = members[0]
    for other in members[1:]:
        for key in sorted({*first.config, *other.config}):
            ours, theirs = first.config.get(key), other.config.get(key)
            if ours != theirs:
                raise ReportError(
                    f"{first.name} and {other.name} are different networks ({key} {ours} and {theirs}) and cannot be "
                    "taken as one; put a space in place of the comma to compare them"
                )
    label = Path(name).resolve().name if Path(name).is_dir() else f"{first.name}+{len(members) - 1}"
    digest = hashlib.sha256("".join(sorted(member.sha256 for member in members)).encode()).hexdigest()
    label = f"{label}-{digest[:8]}" if label in taken else label
    return Checkpoint(label, first.path, digest, first.label_set, first.config, first.recipes, tuple(members))
