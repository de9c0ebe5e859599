"""The GPU check, as far as a CPU can tell: what it compares is the same attention, and what is wrong is marked."""

import pytest
import torch

from benchmarks import gpu, gpu_training
from benchmarks.variants import forward, make_inputs, plain_dense
from dnl.datasets import open_dataset


@pytest.mark.parametrize("run", [gpu.plain_in_heads, gpu.plain_whole])
def test_every_form_of_plain_attention_is_plain_attention(run):
    inputs = make_inputs(24)
    torch.testing.assert_close(forward(run, inputs), forward(plain_dense, inputs), rtol=1e-4, atol=1e-5)


def test_the_kernels_error_is_found():
    pytest.importorskip("triton", reason="Triton is published for Linux alone")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    error = gpu.kernel_error((1, 16, 8, 3, 20), torch.float32, "sigmoid", device)
    assert 0 < error <= gpu.TOLERANCES[torch.float32]


def test_what_is_not_as_it_should_be_is_marked():
    text = gpu.table([("errors", "1e-6", True), ("loss", "1 → 2", False)], "a card")
    assert "| errors | 1e-6 | as it should be |" in text and "| loss | 1 → 2 | **NOT AS IT SHOULD BE** |" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path, capsys):
    assert gpu.main(["--out", str(tmp_path)]) == 1
    assert "there is no GPU here; add --rehearse" in capsys.readouterr().err


def test_the_streets_are_read_as_cityscapes(tmp_path):
    gpu_training.write_streets(tmp_path, 1, (72, 96))
    train, val = (open_dataset("cityscapes", str(tmp_path), split) for split in ("train", "val"))
    assert (len(train), len(val)) == (1, 2)
    sample = train[0]
    assert sample.image.shape == (72, 96, 3)
    names = {train.label_set.class_names[label] for label in set(sample.labels.ravel()) if label < 19}
    assert {"road", "sky"} <= names
