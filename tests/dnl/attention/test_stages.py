"""The attention functions against a plain-loop version written from the definitions, on a non-square map."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import dnl.attention
import dnl.attention.matrix_product
from dnl.attention import (
    attention_stages,
    denoised_attention,
    gate_rows,
    gated_attention,
    mean_attention_row,
    retain_rows,
    retain_values,
    retention_weights,
    value_dtype,
)
from dnl.attention.stages import takes_fused_path
from dnl.network.block import ATTENTION_SOURCES, DenoisedNonLocal2d, class_distribution

HEIGHT, WIDTH = 4, 5
CELLS = HEIGHT * WIDTH
GATES = (None, "sigmoid", "binary", "similarity")
KERNELS = (None, 1, 3, 5, 7)


def random_inputs(batch=2, depth=3, channels=6, classes=4, height=HEIGHT, width=WIDTH, dtype=torch.float64, seed=0):
    """query, key, value, class_probs with scores spread by about 1.5."""
    generator = torch.Generator().manual_seed(seed)

    def normal(size):
        return torch.randn(batch, size, height, width, dtype=torch.float64, generator=generator)

    probs = torch.softmax(2 * normal(classes), dim=1)
    return tuple(tensor.to(dtype) for tensor in (normal(depth), normal(depth), normal(channels), probs))


def loop_stages(query, key, class_probs, gate, kernel, box=False, temperature=1.0):
    """Three N×N lists of lists for one image (d×H×W and classes×H×W), one scalar at a time."""
    depth, height, width = query.shape
    positions = [(y, x) for y in range(height) for x in range(width)]

    def score(a, b):
        return sum(float(query[c][a]) * float(key[c][b]) for c in range(depth))

    def gate_of(a, b):
        if gate is None:
            return 1.0
        p, q = ([float(value) for value in class_probs[(slice(None), *cell)]] for cell in (a, b))
        if gate == "binary":
            return 1.0 if p.index(max(p)) == q.index(max(q)) else 0.0
        similarity = sum(x * y for x, y in zip(p, q, strict=True))
        return similarity if gate == "similarity" else 1 / (1 + math.exp(-similarity))

    raw, rectified, retained = [], [], []
    for a in positions:
        exponentials = [math.exp(score(a, b) / temperature) for b in positions]
        raw.append([value / sum(exponentials) for value in exponentials])
        rectified.append([share * gate_of(a, b) for share, b in zip(raw[-1], positions, strict=True)])
        if kernel is None:
            retained.append(rectified[-1])
            continue
        row = []
        for y, x in positions:
            total = 0.0
            for dy in range(-(kernel // 2), kernel // 2 + 1):
                for dx in range(-(kernel // 2), kernel // 2 + 1):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        learnt = 1 / (1 + math.exp(-score((y, x), (y + dy, x + dx))))
                        weight = 1 / kernel**2 if box else learnt
                        total += weight * rectified[-1][(y + dy) * width + x + dx]
            row.append(total)
        retained.append(row)
    return tuple(torch.tensor(rows, dtype=torch.float64) for rows in (raw, rectified, retained))


@pytest.mark.parametrize("lr_weights", ["learnt", "box"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("gate", GATES)
def test_stages_and_product_equal_the_plain_loops(gate, kernel, lr_weights):
    query, key, value, probs = random_inputs()
    options = {"gate": gate, "lr_kernel": kernel, "lr_weights": lr_weights}
    stages = attention_stages(query, key, probs, **options)
    output = denoised_attention(query, key, value, probs, **options)
    for image in range(query.shape[0]):
        expected = loop_stages(query[image], key[image], probs[image], gate, kernel, box=lr_weights == "box")
        for name, rows, wanted in zip(stages._fields, stages, expected, strict=True):
            assert rows.shape == (2, CELLS, HEIGHT, WIDTH)
            torch.testing.assert_close(rows[image].flatten(1), wanted, rtol=0, atol=1e-10, msg=name)
        gathered = expected[2] @ value[image].flatten(1).t()
        torch.testing.assert_close(output[image].flatten(1), gathered.t(), rtol=0, atol=1e-10)


def test_temperature_divides_the_softmax_scores_but_not_those_of_lr():
    query, key, _, probs = random_inputs(batch=1)
    stages = attention_stages(query, key, probs, temperature=2.5)
    for rows, wanted in zip(
        stages, loop_stages(query[0], key[0], probs[0], "sigmoid", 3, temperature=2.5), strict=True
    ):
        torch.testing.assert_close(rows[0].flatten(1), wanted, rtol=0, atol=1e-10)


def test_by_hand_on_three_cells_in_a_row():
    # q·k = q_i · k_j with d = 1: cell 0 has score ln 2 on cell 0 and 0 elsewhere, so its raw row is (1/2, 1/4, 1/4).
    query = torch.tensor([[[[math.log(2), 0.0, 0.0]]]], dtype=torch.float64)
    key = torch.tensor([[[[1.0, 0.0, 0.0]]]], dtype=torch.float64)
    probs = torch.tensor([[[[1.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]]], dtype=torch.float64)
    stages = attention_stages(query, key, probs, queries=torch.tensor([0]), gate="binary")
    assert stages.raw.flatten().tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 4])
    assert stages.rectified.flatten().tolist() == pytest.approx([1 / 2, 0, 1 / 4])
    # Every LR weight is sigmoid(0) = 1/2 but L[0, centre] = sigmoid(ln 2) = 2/3; cell 1 has q = 0.
    assert stages.retained.flatten().tolist() == pytest.approx([2 / 3 * 1 / 2, 1 / 2 * (1 / 2 + 1 / 4), 1 / 2 * 1 / 4])


def test_raw_rows_sum_to_one_and_every_stage_stays_in_its_range():
    query, key, _, probs = random_inputs(dtype=torch.float32, height=7, width=9)
    stages = attention_stages(4 * query, 4 * key, probs)
    torch.testing.assert_close(stages.raw.sum((2, 3)), torch.ones(2, 63))
    assert all((rows >= 0).all() for rows in stages)
    assert (stages.rectified <= stages.raw).all()
    assert (stages.rectified >= stages.raw / 2).all(), "the sigmoid gate of a similarity in 0 … 1 is at least 1/2"


def test_stages_that_are_switched_off_equal_the_stage_before():
    query, key, _, probs = random_inputs()
    no_gate = attention_stages(query, key, gate=None)
    assert torch.equal(no_gate.rectified, no_gate.raw)
    no_retention = attention_stages(query, key, probs, lr_kernel=None)
    assert torch.equal(no_retention.retained, no_retention.rectified)


@pytest.mark.parametrize("gate", GATES)
def test_chosen_queries_are_the_rows_of_all_in_the_order_asked(gate):
    query, key, _, probs = random_inputs()
    everything = attention_stages(query, key, probs, gate=gate)
    chosen = torch.tensor([7, 0, 19, 7])
    for rows, all_rows in zip(attention_stages(query, key, probs, queries=chosen, gate=gate), everything, strict=True):
        torch.testing.assert_close(rows, all_rows[:, chosen], rtol=0, atol=1e-14)


def test_no_query_gives_no_row():
    query, key, _, probs = random_inputs()
    stages = attention_stages(query, key, probs, queries=torch.tensor([], dtype=torch.int64))
    assert all(rows.shape == (2, 0, HEIGHT, WIDTH) for rows in stages)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("gate", GATES)
def test_gradients(gate, kernel, monkeypatch):
    monkeypatch.setattr(dnl.attention.stages, "QUERY_BLOCK", 7)
    query, key, value, probs = random_inputs(batch=2, depth=2, channels=2, classes=3, height=3)
    inputs = [tensor.requires_grad_() for tensor in (query, key, value, probs)]

    def product(query, key, value, probs):
        return denoised_attention(query, key, value, probs, gate=gate, lr_kernel=kernel)

    if gate is None or gate == "binary":
        # Neither depends smoothly on class_probs: nothing may flow back to them.
        (gradient,) = torch.autograd.grad(product(*inputs).sum(), inputs[3:], allow_unused=True)
        assert gradient is None
        inputs[3] = probs.detach()
    assert torch.autograd.gradcheck(product, inputs)


@pytest.mark.parametrize("gate", GATES)
def test_blocks_of_queries_do_not_show(gate, monkeypatch):
    query, key, value, probs = random_inputs()
    inputs = [tensor.requires_grad_() for tensor in (query, key, value)]

    def run():
        output = denoised_attention(*inputs, probs, gate=gate)
        return output, *torch.autograd.grad(output.square().sum(), inputs), mean_attention_row(query, key)

    whole = run()
    for block in (1, 7, CELLS - 1, CELLS):
        monkeypatch.setattr(dnl.attention.stages, "QUERY_BLOCK", block)
        for blocked, reference in zip(run(), whole, strict=True):
            torch.testing.assert_close(blocked, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_computed_in_float32(dtype):
    query, key, value, probs = random_inputs(dtype=dtype)
    widened = [tensor.float() for tensor in (query, key, value, probs)]
    output = denoised_attention(query, key, value, probs)
    assert output.dtype == dtype
    assert torch.equal(output, denoised_attention(*widened).to(dtype))
    for rows, wanted in zip(
        attention_stages(query, key, probs), attention_stages(*widened[:2], widened[3]), strict=True
    ):
        assert rows.dtype == torch.float32
        assert torch.equal(rows, wanted)


def test_autocast_does_not_reach_the_scores():
    query, key, value, probs = random_inputs(dtype=torch.float32)
    expected = denoised_attention(query, key, value, probs)
    rows = attention_stages(query, key, probs).retained.flatten(2)
    torch.testing.assert_close(expected.flatten(2), value.flatten(2) @ rows.transpose(1, 2), rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(denoised_attention(query, key, value, probs), expected)
        assert torch.equal(attention_stages(query, key, probs).retained.flatten(2), rows)
        mean_row = mean_attention_row(query, key)
    assert torch.equal(mean_row, mean_attention_row(query, key))


def test_autocast_does_not_reach_the_gradients_where_pytorch_multiplies(monkeypatch):
    monkeypatch.setattr(dnl.attention.matrix_product, "_ONEDNN", False)
    found = []
    for enabled in (False, True):
        inputs = [tensor.requires_grad_() for tensor in random_inputs(dtype=torch.float32)]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            denoised_attention(*inputs).square().sum().backward()
        found.append([tensor.grad for tensor in inputs])
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("gate", GATES)
def test_double_precision_of_one_input_is_that_of_all(gate):
    inputs = random_inputs()
    expected = denoised_attention(*inputs, gate=gate)
    for single in range(3):
        mixed = [tensor.float() if place == single else tensor for place, tensor in enumerate(inputs)]
        output = denoised_attention(*mixed, gate=gate)
        assert output.dtype == mixed[2].dtype
        torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gate", GATES)
def test_a_compiled_block_computes_and_learns_the_same(gate):
    found = []
    for compiled in (False, True):
        block, features, class_logits = block_and_inputs(gate=gate)
        run = torch.compile(block, backend="aot_eager") if compiled else block
        output = run(features, class_logits)
        output.square().sum().backward()
        found.append([output, *(parameter.grad for parameter in block.parameters())])
    torch.compiler.reset()
    for eager, other in zip(*found, strict=True):
        torch.testing.assert_close(other, eager, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("gate", GATES)
def test_what_an_export_takes_in_computes_the_same(gate, dtype, monkeypatch):
    query, key, value, probs = random_inputs(dtype=dtype)
    streamed = denoised_attention(query, key, value, probs, gate=gate)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    exported = denoised_attention(query, key, value, probs, gate=gate)
    assert exported.dtype == dtype
    tolerance = 1e-12 if dtype == torch.float64 else 1e-2
    torch.testing.assert_close(exported, streamed, rtol=tolerance, atol=tolerance)


def test_products_in_bfloat16_are_made_in_bfloat16():
    query, key, value, probs = random_inputs(dtype=torch.float32)
    exact = denoised_attention(query, key, value, probs)
    rounded = denoised_attention(query, key, value, probs, value_dtype=torch.bfloat16)
    error = (rounded - exact).abs().max() / exact.abs().max()
    assert rounded.dtype == torch.float32 and 1e-5 < error < 5e-3


def test_the_values_dtype_is_chosen_by_the_time_that_a_block_takes(monkeypatch):
    inputs = random_inputs(dtype=torch.float32)
    exact, rounded = (denoised_attention(*inputs, value_dtype=dtype) for dtype in (None, torch.bfloat16))
    for seconds, expected in (((0.2, 0.1), rounded), ((0.1, 0.2), exact), ((0.101, 0.1), exact)):
        measured = []

        def times(channels, cells, seconds=seconds, measured=measured):
            measured.append((channels, cells))
            return dict(zip(value_dtype.CANDIDATES, seconds, strict=True))

        value_dtype._measured.cache_clear()
        monkeypatch.setattr(value_dtype, "_times", times)
        for _ in range(2):
            assert torch.equal(denoised_attention(*inputs, value_dtype="auto"), expected)
        channels, cells = inputs[2].shape[1], inputs[2].shape[2] * inputs[2].shape[3]
        ((seen_channels, seen_cells),) = measured  # once
        assert seen_channels == channels and cells <= seen_cells < 2 * cells
    value_dtype._measured.cache_clear()
    double = [tensor.double() for tensor in inputs]
    assert torch.equal(denoised_attention(*double, value_dtype="auto"), denoised_attention(*double))
    with pytest.raises(ValueError, match="'fastest'; give a dtype of torch"):
        denoised_attention(*inputs, value_dtype="fastest")


def test_a_block_is_timed_in_both_dtypes():
    times = value_dtype._times(8, 64)
    assert set(times) == {torch.float32, torch.bfloat16} and 0 < min(times.values()) and max(times.values()) < 60


def test_the_fused_path_is_for_gpus_single_precision_and_depths_that_fit():
    pytest.importorskip("triton", reason="Triton is published for Linux alone")

    def fits(depth=128, value_dtype=torch.float32, value_device="cuda"):
        with FakeTensorMode():
            query, key = (torch.empty(1, depth, 2, 3, device="cuda", dtype=torch.bfloat16) for _ in range(2))
            value = torch.empty(1, 5, 2, 3, device=value_device, dtype=value_dtype)
            return takes_fused_path(query, key, value)

    assert fits()
    assert not fits(depth=129)
    assert not fits(value_dtype=torch.float64)
    assert not fits(value_device="cpu")


def test_scores_beyond_the_range_of_exp_stay_finite():
    query, key, value, probs = random_inputs(dtype=torch.float32)
    inputs = [(100 * query).requires_grad_(), (100 * key).requires_grad_(), value, probs]
    output = denoised_attention(*inputs)
    output.sum().backward()
    assert all(torch.isfinite(tensor).all() for tensor in (output, inputs[0].grad, inputs[1].grad))


def test_inputs_are_not_changed():
    inputs = [tensor.requires_grad_() for tensor in random_inputs()]
    before = [tensor.detach().clone() for tensor in inputs]
    denoised_attention(*inputs).sum().backward()
    attention_stages(inputs[0], inputs[1], inputs[3])
    mean_attention_row(inputs[0], inputs[1])
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(inputs, before, strict=True))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("kernel", [None, 3])
def test_without_gradients_the_output_is_the_same_and_inputs_are_not_changed(gate, kernel):
    inputs = random_inputs(dtype=torch.float32)
    before = [tensor.clone() for tensor in inputs]
    expected = denoised_attention(*(tensor.clone().requires_grad_() for tensor in inputs), gate=gate, lr_kernel=kernel)
    with torch.inference_mode():
        assert torch.equal(denoised_attention(*inputs, gate=gate, lr_kernel=kernel), expected)
        gated_attention(*inputs, gate=gate)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(inputs, before, strict=True))


def test_noncontiguous_inputs_give_the_same():
    inputs = random_inputs()
    strided = [tensor.contiguous(memory_format=torch.channels_last) for tensor in inputs]
    torch.testing.assert_close(denoised_attention(*strided), denoised_attention(*inputs), rtol=0, atol=1e-12)


class LargestTensor(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation gives back."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.numel = max(self.numel, *sizes, 0)
        return result


def test_no_map_of_all_queries_is_ever_built():
    cells = 48 * 64
    inputs = random_inputs(batch=1, depth=4, channels=4, classes=3, height=48, width=64, dtype=torch.float32)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a mode sees the operations of its own thread
    try:
        with LargestTensor() as largest:
            denoised_attention(*inputs).sum().backward()
            mean_attention_row(inputs[0].detach(), inputs[1].detach())
    finally:
        torch.set_num_threads(threads)
    assert largest.numel < cells**2 / 4
    rows = dnl.attention.stages.QUERY_BLOCK * dnl.attention.streamed.FORWARD_TIMES
    assert largest.numel <= rows * cells, "one block of rows at a time"


@pytest.mark.parametrize("kernel", [3, 5])
def test_folding_into_the_values_is_the_transpose_of_lr(kernel):
    query, key, value, _ = random_inputs()
    weights = retention_weights(query, key, kernel)
    identity = torch.eye(CELLS, dtype=torch.float64).reshape(1, CELLS, HEIGHT, WIDTH).expand(2, -1, -1, -1)
    # Row n of LR applied to the identity holds L[m, n − m] in column m: it is Lᵀ as an N×N matrix.
    transposed = retain_rows(identity, weights).flatten(2)
    folded = torch.einsum("bjm,bcm->bcj", transposed, value.flatten(2)).reshape_as(value)
    torch.testing.assert_close(retain_values(value, weights), folded, rtol=0, atol=1e-12)


def test_mean_attention_row_is_the_mean_of_all_rows():
    query, key, _, _ = random_inputs()
    mean = mean_attention_row(query, key)
    torch.testing.assert_close(mean, attention_stages(query, key, gate=None).raw.mean(1), rtol=0, atol=1e-14)
    torch.testing.assert_close(mean.sum((1, 2)), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate": "soft"}, "gate is 'soft'; choose one of sigmoid, binary, similarity"),
        ({"lr_kernel": 4}, "lr_kernel is 4; it must be an odd number"),
        ({"lr_kernel": -1}, "lr_kernel is -1"),
        ({"lr_weights": "gauss"}, "lr_weights is 'gauss'; choose one of learnt, box"),
    ],
)
def test_unknown_options_are_named(options, message):
    query, key, value, probs = random_inputs()
    with pytest.raises(ValueError, match=message):
        denoised_attention(query, key, value, probs, **options)
    with pytest.raises(ValueError, match=message):
        attention_stages(query, key, probs, **options)


def test_shapes_that_do_not_fit_are_named():
    query, key, value, probs = random_inputs()
    with pytest.raises(ValueError, match=r"query is \(2, 3, 4, 5\) and key \(2, 2, 4, 5\)"):
        denoised_attention(query, key[:, :2], value, probs)
    with pytest.raises(ValueError, match="must have the same shape B×d×H×W"):
        attention_stages(query.flatten(2), key.flatten(2), probs)
    with pytest.raises(ValueError, match=r"value is \(2, 6, 5, 4\)"):
        denoised_attention(query, key, value.transpose(2, 3), probs)
    with pytest.raises(ValueError, match=r"value is \(1, 6, 4, 5\)"):
        denoised_attention(query, key, value[:1], probs)
    for strange in (value[:1], value.transpose(2, 3), value[..., :3], value.flatten(2)):
        with pytest.raises(ValueError, match=r"value must be B×C×H×W of the same batch, height and width$"):
            gated_attention(query, key, strange)
    with pytest.raises(ValueError, match="at least one image and one cell"):
        denoised_attention(query[:0], key[:0], value[:0], probs[:0])
    for strange, size in ((probs.transpose(2, 3), "2, 4, 5, 4"), (probs[:1], "1, 4, 4, 5"), (probs[:, 0], "2, 4, 5")):
        needed = r"class_probs must be B×classes×H×W of the same batch, height and width$"
        with pytest.raises(ValueError, match=rf"class_probs is \({size}\) but query is \(2, 3, 4, 5\); {needed}"):
            denoised_attention(query, key, value, strange)
    with pytest.raises(ValueError, match="gate 'sigmoid' needs class_probs"):
        denoised_attention(query, key, value)


def test_queries_and_temperature_out_of_range_are_named():
    query, key, _, probs = random_inputs()
    with pytest.raises(ValueError, match=r"query cells run from 3 to 20; a 4×5 map has cells 0 … 19"):
        attention_stages(query, key, probs, queries=torch.tensor([3, 20]))
    with pytest.raises(ValueError, match="query cells run from -1"):
        attention_stages(query, key, probs, queries=torch.tensor([-1]))
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="it must be above 0"):
            attention_stages(query, key, probs, temperature=temperature)


def block_and_inputs(**options):
    """A block of 16 channels in float64 with γ = 0.5, features 2×16×4×5 and class logits 2×3×7×9."""
    torch.manual_seed(0)
    block = DenoisedNonLocal2d(16, gamma_init=0.5, **options).double()
    features = torch.randn(2, 16, HEIGHT, WIDTH, dtype=torch.float64)
    return block, features, 3 * torch.randn(2, 3, 7, 9, dtype=torch.float64)


@pytest.mark.parametrize("lr_kernel", [None, 3])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("source", ATTENTION_SOURCES)
def test_block_is_gamma_times_the_gathered_values_plus_the_features(source, gate, lr_kernel):
    block, features, class_logits = block_and_inputs(gate=gate, lr_kernel=lr_kernel)
    block.attention_source = source
    query, key, value = block.query(features), block.key(features), block.value(features)
    raw = attention_stages(query, key, gate=None).raw.flatten(2)
    if source == "uniform":
        raw = torch.full_like(raw, 1 / CELLS)
    elif source == "mean":
        raw = raw.mean(1, keepdim=True).expand_as(raw)
    if gate is not None:
        probs = class_distribution(class_logits, (HEIGHT, WIDTH)).flatten(2)
        raw = raw * gate_rows(probs, probs, gate)
    rows = raw.unflatten(-1, (HEIGHT, WIDTH))
    if lr_kernel is not None:
        rows = retain_rows(rows, retention_weights(query, key, lr_kernel))
    gathered = torch.einsum("bnm,bcm->bcn", rows.flatten(2), value.flatten(2)).unflatten(-1, (HEIGHT, WIDTH))
    torch.testing.assert_close(block(features, class_logits), 0.5 * gathered + features, rtol=0, atol=1e-10)


@pytest.mark.parametrize("source", ATTENTION_SOURCES)
@pytest.mark.parametrize("autocast", [False, True])
def test_blocks_work_in_bfloat16(source, autocast):
    block, features, class_logits = block_and_inputs()
    block.attention_source = source
    expected = block(features, class_logits)
    block, features = (block.float(), features.float()) if autocast else (block.bfloat16(), features.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = block(features, class_logits.to(features.dtype))
    torch.testing.assert_close(output.double(), expected, rtol=0.1, atol=0.1)


def test_block_at_gamma_zero_is_the_identity():
    block, features, class_logits = block_and_inputs()
    torch.nn.init.zeros_(block.gamma)
    assert torch.equal(block(features, class_logits), features)


def test_gradients_reach_the_class_logits_through_the_gate():
    block, features, class_logits = block_and_inputs()
    block(features, class_logits.requires_grad_()).square().sum().backward()
    assert class_logits.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in block.parameters())


def test_class_distribution_resizes_the_logits_before_the_softmax():
    logits = torch.tensor([[[[0.0, 4.0]], [[0.0, 0.0]]]])
    probs = class_distribution(logits, (1, 3))
    # The middle cell's logits are (2, 0); the mean of the outer probabilities would be 0.741.
    assert probs[0, 0, 0].tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-4))])
    torch.testing.assert_close(probs.sum(1), torch.ones(1, 1, 3))


def test_a_whitened_start_treats_every_direction_alike_and_favours_no_key():
    block = DenoisedNonLocal2d(32).double()
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(32, 32, generator=generator, dtype=torch.float64)
    cells = mixing @ torch.randn(32, 3 * 20 * 24, generator=generator, dtype=torch.float64) + 5
    features = cells.view(32, 3, 20, 24).permute(1, 0, 2, 3)
    block.start_whitened(features, 1.4)
    assert torch.equal(block.query.weight, block.key.weight)
    projection = block.query.weight[:, :, 0, 0]
    mean = cells.mean(1)
    assert (projection @ mean).abs().max() < 1e-9  # so no key is preferred by the mean query
    projected = projection @ (cells - mean[:, None])
    covariance = projected @ projected.t() / cells.shape[1]
    assert torch.allclose(covariance, covariance[0, 0] * torch.eye(4, dtype=torch.float64), atol=1e-9)
    scores = projected.t() @ projected
    assert scores.std().item() == pytest.approx(1.4, rel=0.05)


def test_a_whitened_start_does_not_blow_up_directions_in_which_nothing_varies():
    block = DenoisedNonLocal2d(32).double()
    features = torch.zeros(1, 32, 9, 11, dtype=torch.float64)
    with pytest.raises(ValueError, match="do not vary"):
        block.start_whitened(features, 1.4)
    features[:, 0] = torch.randn(9, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features[:, 1] = 3
    block.start_whitened(features, 1.4)
    assert torch.isfinite(block.query.weight).all()
    assert block.query(features).std(dim=(0, 2, 3)).argmax() == 0
