"""The lens's benchmark: what it reads from a browser's trace."""

import json

import numpy as np
import pytest

from benchmarks import lens


def event(name: str, ts: int, **rest) -> dict:
    return {"name": name, "ts": ts, **rest}


def mark(phase: str, ts: int, local: str) -> dict:
    return event("lens", ts, ph=phase, cat="blink.user_timing", id2={"local": local})


def test_a_move_s_times_are_its_own_frame_s():
    trace = [
        event("FireAnimationFrame", 1000, tdur=50),  # not the lens's
        event("FireAnimationFrame", 1100, tdur=1500),
        mark("b", 1090, "a"),  # the page's clock is coarse: this is before the callback began
        mark("e", 4090, "a"),
        event("FireAnimationFrame", 9000, tdur=70),
        event("FireAnimationFrame", 10_000, tdur=2500),
        mark("b", 10_100, "b"),
        mark("e", 12_100, "b"),
    ]
    times = lens.times_of_moves(json.dumps({"traceEvents": trace}).encode())
    np.testing.assert_allclose(times, [[3.0, 1.5], [2.0, 2.5]])
    text = lens.report("tiny", times, 0)
    assert "2 moves  processor median  2.00 ms" in text and "clock median  2.50 ms" in text


def test_nonsense_is_refused(capsys):
    with pytest.raises(SystemExit):
        lens.main(["--moves", "0"])
    assert "--moves is 0" in capsys.readouterr().err


def test_a_benchmark_s_capture_has_the_cells_that_were_asked_for():
    capture = lens.make_capture(5, 7, kernel=5, seed=1)
    assert capture.cells == (5, 7) and capture.lr_kernel == 5 and capture.image.shape == (40, 56, 3)
    assert set(np.unique(capture.cell_labels)) <= {*range(lens.CLASSES), lens.IGNORE}
