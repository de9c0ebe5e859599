"""The attention benchmark: its variants compute what they are compared with, and its results hold what was measured."""

import json

import pytest
import torch

from benchmarks import attention, results
from benchmarks.measure import median_times
from benchmarks.variants import OURS, PUBLISHED, VARIANTS, denoised_binary, forward, make_inputs, with_layout
from dnl.attention import attention_stages
from dnl.datasets import Streets


def test_the_published_formula_is_the_method_row_by_row():
    inputs = make_inputs(30)
    rows = attention_stages(inputs.query, inputs.key, inputs.class_probs).retained.flatten(2)
    expected = torch.einsum("bnm,bcm->bcn", rows, inputs.value.flatten(2)).view_as(inputs.value)
    torch.testing.assert_close(forward(VARIANTS[PUBLISHED].run, inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_equals_the_one_it_is_compared_with(name):
    inputs = make_inputs(96)
    expected = forward(VARIANTS[VARIANTS[name].equals].run, inputs)
    tolerance = 0.005 if "bfloat16" in name else 1e-5
    assert (forward(VARIANTS[name].run, inputs) - expected).abs().max() <= tolerance * expected.abs().max()


def test_a_layout_gives_each_cell_its_class():
    labels = Streets("val", 1)[0].labels[100:108, 200:212]
    inputs = with_layout(make_inputs(96), labels)
    classes = inputs.class_probs.argmax(1)[0]
    same = torch.from_numpy(labels)[:, :, None, None] == torch.from_numpy(labels)
    assert torch.equal(classes[:, :, None, None] == classes, same)
    torch.testing.assert_close(inputs.class_probs.sum(1), torch.ones(1, 8, 12))
    assert torch.isfinite(forward(denoised_binary, inputs)).all()


def test_calls_take_turns_and_the_first_round_does_not_count():
    turns = []
    median_times({name: lambda name=name: turns.append(name) for name in "abc"}, 20)
    rounds = [tuple(turns[start : start + 3]) for start in range(0, len(turns), 3)]
    assert len(rounds) == 21 and {"".join(sorted(names)) for names in rounds} == {"abc"}
    assert {names[0] for names in rounds} == set("abc")  # nobody always comes first, or after the same one


def test_the_command_writes_figures_tables_and_a_plot(tmp_path, capsys):
    threads = torch.get_num_threads()
    try:
        common = ["--cells", "70", "--repeats", "1", "--out", str(tmp_path)]
        assert attention.main(["--sections", "forward", *common]) == 0
        assert attention.main(["--sections", "backward", *common]) == 0
    finally:
        torch.set_num_threads(threads)
    content = json.loads((tmp_path / "attention.json").read_text(encoding="utf-8"))
    assert set(content) == {"machine", "forward", "backward"}, "a section that is not run stays as it was"
    assert content["forward"][0]["cells"] == 70
    assert set(VARIANTS) <= set(content["forward"][0]["seconds"])
    assert content["forward"][0]["difference"][OURS] < 1e-5
    tables = (tmp_path / "attention.md").read_text(encoding="utf-8")
    assert "## Forward, N = 70" in tables and "## Forward and backward, N = 70" in tables
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
    assert "GFLOP/s" in capsys.readouterr().out


def test_a_missing_camvid_folder_is_named(tmp_path, capsys):
    threads = torch.get_num_threads()
    try:
        missing = str(tmp_path / "nowhere")
        assert attention.main(["--sections", "binary", "--camvid", missing, "--out", str(tmp_path)]) == 1
    finally:
        torch.set_num_threads(threads)
    assert "nowhere" in capsys.readouterr().err


def test_variants_that_do_not_fit_the_memory_are_left_out_and_named(monkeypatch):
    monkeypatch.setattr(attention, "total_memory", lambda: 4 * 22 * 100**2)
    assert attention.fitting(100) == ([name for name in VARIANTS if name != PUBLISHED], [PUBLISHED])
    entry = {"cells": 100, "seconds": dict.fromkeys([OURS, *results.PRODUCTS, results.STREAMED], 1.0)}
    entry["left out"] = [PUBLISHED]
    text = results.tables({"machine": {}, "forward": [entry]})
    assert "do not fit the memory: published formula" in text
