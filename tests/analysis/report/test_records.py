import json

import numpy as np

from analysis.report.records import SkippedImage, located, read_record, write_record
from dnl.datasets import Origin


def test_records_come_back_from_their_files(tmp_path, records):
    path, stamp = tmp_path / "a.npz", {"options": ("a", 1)}
    write_record(path, records[0], stamp)
    back = read_record(path, stamp)
    assert back.name == records[0].name and back.stages == records[0].stages
    for field, value in vars(records[0]).items():
        if isinstance(value, np.ndarray):
            assert (getattr(back, field) == value).all() and getattr(back, field).dtype == value.dtype
    np.testing.assert_array_equal(back.noise_maps["raw"], records[0].noise_maps["raw"])
    assert back.query_dependence == records[0].query_dependence
    assert read_record(path, {"options": ("b", 1)}) is None
    assert read_record(tmp_path / "none.npz") is None
    path.write_bytes(b"something else")
    assert read_record(path) is None


def test_records_kept_before_there_were_groups_are_used(tmp_path, records):
    path, stamp = tmp_path / "a.npz", {"options": ("a", 1)}
    write_record(path, records[0], stamp)
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays["meta"]))
    del meta["fields"]["group"], meta["fields"]["place"]
    np.savez(path, **{**arrays, "meta": np.array(json.dumps(meta))})
    found = located([read_record(path, stamp), SkippedImage("x", "why")], [Origin("0016E5", 7), Origin("a", None)])
    assert [(record.group, record.place) for record in found] == [("0016E5", 7), ("a", None)]
    assert found[0].queries == records[0].queries and found[1].reason == "why"


def test_a_skipped_image_comes_back(tmp_path):
    path, stamp = tmp_path / "a.npz", {}
    write_record(path, SkippedImage("x", "why"), stamp)
    assert read_record(path, stamp) == SkippedImage("x", "why")
