import numpy as np

from analysis.report.records import SkippedImage, read_record, write_record


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
    write_record(path, SkippedImage("x", "why"), stamp)
    assert read_record(path, stamp) == SkippedImage("x", "why")
