"""The streamed attention: its blocks, bfloat16, saturated scores, and layouts in memory."""

import pytest
import torch

import dnl.attention.stages
import dnl.attention.streamed
from dnl.attention import GATES, denoised_attention
from dnl.attention.streamed import Options


def random_maps(*channels, batch=2, height=5, width=7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, size, height, width, generator=generator, dtype=dtype) for size in channels]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("gate", [None, *GATES])
def test_blocks_and_threads_do_not_show(gate, threads, monkeypatch):
    query, key, value, logits = random_maps(3, 3, 6, 4, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (query, key, value)]
    probs = logits.softmax(1)

    def run():
        output = denoised_attention(*inputs, probs, gate=gate)
        return output, *torch.autograd.grad(output.square().sum(), inputs)

    whole, before = run(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for block in (1, 4, 34):
            monkeypatch.setattr(dnl.attention.streamed, "BLOCK_SCORES", 0)
            monkeypatch.setattr(dnl.attention.stages, "QUERY_BLOCK", block)
            first, again = run(), run()
            assert torch.get_num_threads() == threads
            for ours, repeated, reference in zip(first, again, whole, strict=True):
                torch.testing.assert_close(ours, reference, rtol=0, atol=1e-12)
                assert torch.equal(ours, repeated), "the same work in the same order gives the same numbers"
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cells", "threads", "sizes"),
    [
        (500, 8, [500]),  # small enough for one block
        (690, 2, [345, 345]),
        (2401, 1, [127] * 18 + [115]),
        (2401, 2, [121] * 19 + [102]),
        (8192, 2, [128] * 64),
        (8192, 3, [125] * 65 + [67]),
    ],
)
def test_a_map_is_cut_evenly_among_the_threads(cells, threads, sizes):
    blocks = Options(None, 128).blocks(slice(0, cells), cells, threads)
    assert [block.stop - block.start for block in blocks] == sizes
    assert [block.start for block in blocks] == [0, *(block.stop for block in blocks[:-1])]


def test_a_class_is_cut_evenly_however_many_the_threads():
    options = Options("binary", 128, spans=[[slice(0, 1000), slice(1000, 1300)]])
    assert options.blocks(slice(1000, 1300), 8192, 16) == [slice(1000, 1100), slice(1100, 1200), slice(1200, 1300)]


@pytest.mark.parametrize(
    ("cells", "classes", "parts", "sizes"),
    [
        (512, 1, 2, [512]),
        (2401, 1, 1, [481] * 4 + [477]),
        (2401, 1, 2, [401] * 5 + [396]),
        (4096, 1, 2, [512] * 8),
        (1300, 1, 16, [82] * 15 + [70]),
        (4096, 16, 2, [1024] * 4),  # 256 queries a class
        (4096, 64, 1, [4096]),
        (4096, 64, 2, [2048] * 2),
        (512, 64, 2, [512]),
    ],
)
def test_keys_are_cut_into_as_many_tiles_for_each_part(cells, classes, parts, sizes):
    size = cells // classes
    spans = None if classes == 1 else [[slice(start, start + size) for start in range(0, cells, size)]]
    tiles = Options(None, 128, spans).tiles(0, cells, parts)
    assert [tile.stop - tile.start for tile in tiles] == sizes
    assert [tile.start for tile in tiles] == [0, *(tile.stop for tile in tiles[:-1])]


@pytest.mark.parametrize("gate", [None, *GATES])
def test_bfloat16_products_stay_within_their_stated_error(gate):
    query, key, value, logits = random_maps(8, 8, 32, 5, height=24, width=30)
    inputs = [tensor.requires_grad_() for tensor in (query, key, value)]
    results = []
    for value_dtype in (None, torch.bfloat16):
        output = denoised_attention(*inputs, logits.softmax(1), gate=gate, value_dtype=value_dtype)
        assert output.dtype == torch.float32
        results.append((output.detach(), *torch.autograd.grad(output.square().sum(), inputs)))
    exact, mixed = results
    assert (mixed[0] - exact[0]).abs().max() < 0.005 * exact[0].abs().max()
    assert not torch.equal(mixed[0], exact[0])
    for gradient, reference in zip(mixed[1:], exact[1:], strict=True):
        assert (gradient - reference).abs().max() < 0.02 * reference.abs().max()


def test_saturated_scores_of_every_gate_stay_finite_and_right():
    query, key, value, logits = random_maps(4, 4, 6, 3)
    probs = logits.softmax(1)
    for gate in (None, *GATES):
        inputs = [(50 * query).requires_grad_(), (50 * key).requires_grad_(), value.clone().requires_grad_()]
        output = denoised_attention(*inputs, probs, gate=gate)
        exact = denoised_attention(*(tensor.detach().double() for tensor in inputs), probs.double(), gate=gate)
        torch.testing.assert_close(output.double(), exact, rtol=1e-2, atol=1e-2)
        gradients = torch.autograd.grad(output.sum(), inputs)
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("gate", [None, *GATES])
def test_maps_that_lie_channels_last_give_the_same(gate):
    query, key, value, logits = random_maps(3, 3, 6, 4, dtype=torch.float64)
    weights = torch.randn_like(value)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        inputs = [tensor.clone(memory_format=layout).requires_grad_() for tensor in (query, key, value)]
        output = denoised_attention(*inputs, logits.softmax(1).contiguous(memory_format=layout), gate=gate)
        results.append((output, *torch.autograd.grad((output * weights).sum(), inputs)))
    for last, usual in zip(*results, strict=True):
        torch.testing.assert_close(last, usual, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", ["learnt", "box"])
def test_the_layout_in_memory_changes_no_number(batch, kind):
    generator = torch.Generator().manual_seed(5)
    shapes = ((batch, 4, 5, 7), (batch, 4, 5, 7), (batch, 6, 5, 7))
    query, key, value = (torch.randn(shape, generator=generator) for shape in shapes)
    probs = torch.softmax(torch.randn(batch, 3, 5, 7, generator=generator), dim=1)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        inputs = [tensor.clone(memory_format=layout).requires_grad_() for tensor in (query, key, value)]
        output = denoised_attention(*inputs, probs, lr_weights=kind)
        with torch.inference_mode():
            torch.testing.assert_close(denoised_attention(*inputs, probs, lr_weights=kind), output)
        output.square().sum().backward()
        results.append((output.detach(), *(tensor.grad for tensor in inputs)))
    for contiguous, channels_last in zip(*results, strict=True):
        torch.testing.assert_close(channels_last, contiguous)
    strided = torch.stack([value, value], dim=2)[:, :, 0]
    torch.testing.assert_close(denoised_attention(query, key, strided, probs, lr_weights=kind), results[0][0])
    torch.testing.assert_close(strided, value, rtol=0, atol=0)
