"""The fused kernels against the streamed path: in Triton's interpreter on a CPU, and compiled where there is a GPU."""

import pytest
import torch

from dnl.attention import GATES, denoised_attention, gated_attention
from dnl.attention import stages as attention

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton", reason="Triton is published for Linux alone")
from dnl.attention import fused as triton_attention  # noqa: E402


def flat_inputs(height, width, *, batch=2, depth=5, channels=7, classes=3, seed=0):
    """query, key, value, class_probs flattened: B×size×N float32; cells more than a block and no multiple of one."""
    generator = torch.Generator().manual_seed(seed)

    def normal(size):
        return torch.randn(batch, size, height * width, generator=generator).to(DEVICE)

    return normal(depth), normal(depth), normal(channels), torch.softmax(2 * normal(classes), 1)


def weights_of(value):
    return torch.randn(value.shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)


def streamed(query, key, value, probs, gate):
    maps = (tensor.cpu().unflatten(-1, (1, tensor.shape[-1])) for tensor in (query, key, value, probs))
    return gated_attention(*maps, gate=gate).flatten(2).to(DEVICE)


def with_gradients(function, inputs, gate, weights):
    """Output and the gradients of ⟨output, weights⟩ for query, key, value and, where they count, probs."""
    inputs = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    output = function(*inputs, gate)
    counting = inputs if gate in ("sigmoid", "similarity") else inputs[:3]
    return output, *torch.autograd.grad((output * weights).sum(), counting)


@pytest.mark.parametrize("gate", [None, *GATES])
def test_forward_and_backward_equal_the_streamed_path(gate):
    inputs = flat_inputs(7, 11)
    weights = weights_of(inputs[2])
    fused = with_gradients(triton_attention.fused_attention, inputs, gate, weights)
    expected = with_gradients(streamed, inputs, gate, weights)
    for ours, reference in zip(fused, expected, strict=True):
        assert ours.dtype == reference.dtype
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=2e-5)


def test_channels_beyond_one_program_are_shared_out(monkeypatch):
    monkeypatch.setattr(triton_attention, "MAX_CHANNELS", 32)
    inputs = flat_inputs(5, 7, channels=39, depth=20, classes=17)
    weights = weights_of(inputs[2])
    fused = with_gradients(triton_attention.fused_attention, inputs, "sigmoid", weights)
    for ours, reference in zip(fused, with_gradients(streamed, inputs, "sigmoid", weights), strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=2e-5)


def test_scores_beyond_the_range_of_exp_stay_finite():
    query, key, value, probs = flat_inputs(5, 9)
    weights = torch.ones_like(value)
    inputs = (100 * query, 100 * key, value, probs)
    fused = with_gradients(triton_attention.fused_attention, inputs, "sigmoid", weights)
    assert all(torch.isfinite(tensor).all() for tensor in fused)
    torch.testing.assert_close(fused[0], streamed(*inputs, "sigmoid"), rtol=1e-3, atol=1e-3)


def test_strided_inputs_are_taken_as_they_are():
    inputs = flat_inputs(4, 9)
    strided = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in inputs]
    for gate in (None, "sigmoid"):
        assert torch.equal(
            triton_attention.fused_attention(*strided, gate), triton_attention.fused_attention(*inputs, gate)
        )


def test_cpu_tensors_do_not_take_the_fused_path():
    query, key, value, _ = (tensor.cpu() for tensor in flat_inputs(4, 9))
    assert not attention.takes_fused_path(query, key, value)


@pytest.mark.parametrize("gate", [None, "sigmoid"])
def test_the_whole_product_by_the_kernels_equals_the_streamed_one(gate, monkeypatch):
    query, key, value, probs = (tensor.unflatten(-1, (2, 3)) for tensor in flat_inputs(2, 3))
    wide = [tensor.cpu() for tensor in (query, key, value, probs)]
    expected = denoised_attention(*wide, gate=gate)
    monkeypatch.setattr(attention, "takes_fused_path", lambda *_: True)
    torch.testing.assert_close(
        denoised_attention(query, key, value, probs, gate=gate).cpu(), expected, rtol=1e-4, atol=2e-5
    )


@pytest.mark.skipif(DEVICE == "cpu", reason="no CUDA device: the kernels ran in Triton's interpreter alone")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gate", [None, *GATES])
def test_on_a_gpu_against_float64(gate, dtype):
    inputs = flat_inputs(31, 37, depth=32, channels=256, classes=19)
    maps = [tensor.unflatten(-1, (31, 37)).to("cuda", dtype).requires_grad_() for tensor in inputs]
    exact = [tensor.detach().double().cpu().requires_grad_() for tensor in maps]
    assert attention.takes_fused_path(*maps[:3])
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 3e-2, "atol": 3e-2}
    results = []
    for tensors in (maps, exact):
        output = denoised_attention(*tensors, gate=gate)
        counting = tensors if gate in ("sigmoid", "similarity") else tensors[:3]
        results.append((output, *torch.autograd.grad(output.square().sum(), counting)))
    for ours, reference in zip(*results, strict=True):
        scale = reference.abs().max()
        torch.testing.assert_close(ours.double().cpu() / scale, reference / scale, **tolerance)


@pytest.mark.parametrize(
    ("query", "value", "tf32", "precision"),
    [
        (torch.float32, torch.float32, False, "ieee"),
        (torch.float32, torch.bfloat16, False, "ieee"),
        (torch.bfloat16, torch.float32, False, "ieee"),
        (torch.bfloat16, torch.bfloat16, False, "tf32"),
        (torch.float32, torch.float32, True, "tf32"),
    ],
)
def test_float32_is_rounded_only_where_pytorch_may_round_it(query, value, tf32, precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        query, value = torch.zeros(1, 4, 8, dtype=query), torch.zeros(1, 4, 8, dtype=value)
        sizes = triton_attention._sizes(query, value, None, None)
    finally:
        torch.set_float32_matmul_precision(before)
    assert sizes["PRECISION"] == precision
