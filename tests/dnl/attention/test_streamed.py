"""What the streamed attention is made of: its products, its threads, the folding of LR, blocks, spans and bfloat16."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import dnl.attention.parallel
import dnl.attention.streamed
from dnl.attention import GATES, attention_stages, denoised_attention, retain_values, retention_weights
from dnl.attention.matrix_product import packed, product
from dnl.attention.parallel import for_each, results, threads_for
from dnl.attention.retention import fold_retention
from dnl.attention.streamed import Options

CPU = torch.device("cpu")


def random_maps(*channels, batch=2, height=5, width=7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, size, height, width, generator=generator, dtype=dtype) for size in channels]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 1, 1), (3, 17, 5), (128, 64, 200), (70, 1, 33)])
def test_product_is_left_times_right_transposed_however_they_lie(rows, depth, columns, dtype):
    left, right = torch.randn(rows, depth, dtype=dtype), torch.randn(columns, depth, dtype=dtype)
    expected = left.double() @ right.double().t()
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-13, torch.bfloat16: 2e-2}[dtype] * max(1, depth**0.5)
    wide = torch.zeros(rows, 2 * depth, dtype=dtype)
    wide[:, :depth] = left
    for one in (left, left.t().contiguous().t(), wide[:, :depth]):
        for other in (right, right.t().contiguous().t(), torch.cat([right, right], dim=1)[:, :depth]):
            for operand in (other, packed(other)):
                result = product(one, operand)
                assert result.dtype == dtype
                torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=tolerance)


def test_every_item_is_worked_on_once_and_the_thread_count_comes_back():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        done, inside, nested = [], set(), []

        def work(item):
            done.append(item)
            inside.add((torch.get_num_threads(), threads_for(CPU)))
            for_each(nested.append, range(2), CPU)

        for_each(work, range(50), CPU)
        assert sorted(done) == list(range(50)) and len(nested) == 100
        assert inside == {(1, 1)}, "one core an operation, and nothing left for work within work"
        assert (torch.get_num_threads(), threads_for(CPU), threads_for(torch.device("cuda"))) == (3, 3, 1)
    finally:
        torch.set_num_threads(before)


def test_callers_and_threads_born_meanwhile_keep_their_thread_counts():
    """Many callers at once, as visitors of a server are, each a thread of its own: none ends up on one core."""
    before = torch.get_num_threads()
    for_each(len, ["helpers are started"], CPU)
    torch.set_num_threads(3)
    seen = []

    def call():
        for_each(lambda _: time.sleep(0.002), range(6), CPU)
        seen.append(torch.get_num_threads())

    try:
        callers = [threading.Thread(target=call) for _ in range(20)]
        for caller in callers:
            caller.start()
            time.sleep(0.003)
        for caller in callers:
            caller.join()
        late = threading.Thread(target=call)
        late.start()
        late.join()
        assert seen == [3] * 21
    finally:
        torch.set_num_threads(before)


def test_work_goes_on_in_turn_where_helpers_take_none_any_more(monkeypatch):
    helpers, done = ThreadPoolExecutor(1), []
    helpers.shutdown()
    monkeypatch.setattr(dnl.attention.parallel, "_started", helpers)
    for_each(done.append, range(10), CPU)
    assert done == list(range(10))


def test_results_come_in_the_order_of_the_calls():
    assert results([lambda number=number: number**2 for number in range(50)], CPU) == [n**2 for n in range(50)]
    assert results([], CPU) == []


def test_an_exception_of_any_thread_reaches_the_caller_and_the_thread_count_comes_back():
    before = torch.get_num_threads()

    def work(item):
        raise KeyError(item)

    with pytest.raises(KeyError):
        for_each(work, range(10), CPU)
    assert torch.get_num_threads() == before


def test_threads_work_in_the_callers_modes():
    modes = []
    with torch.inference_mode():
        for_each(lambda _: modes.append(torch.is_inference_mode_enabled()), range(20), CPU)
    with torch.no_grad():
        for_each(lambda _: modes.append(not torch.is_grad_enabled()), range(20), CPU)
    assert all(modes) and len(modes) == 40


def test_helpers_that_are_busy_elsewhere_are_not_waited_for(monkeypatch):
    released, done = threading.Event(), []
    with ThreadPoolExecutor(2) as helpers:
        monkeypatch.setattr(dnl.attention.parallel, "_started", helpers)
        helpers.submit(released.wait)
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            caller = threading.Thread(target=for_each, args=(done.append, range(10), CPU), daemon=True)
            caller.start()
            caller.join(timeout=30)
            assert not caller.is_alive()
        finally:
            torch.set_num_threads(before)
            released.set()
    assert done == list(range(10))


def test_an_error_leaves_nothing_behind():
    class Result:
        pass

    def fail(kept):
        raise KeyError(kept)

    result = Result()
    left = weakref.ref(result)
    gc.disable()  # so that what only a cycle holds stays
    try:
        with pytest.raises(KeyError):
            for_each(fail, [result], CPU)
        del result
        assert left() is None
    finally:
        gc.enable()


FORKED = """
import os, threading, torch
from dnl.attention.parallel import for_each

def meet():
    both = threading.Barrier(2)  # passed by two threads alone
    for_each(lambda _: both.wait(30), range(2), torch.device("cpu"))

torch.set_num_threads(2)
meet()
child = os.fork()
meet()
if child:
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_helpers_of_its_own():
    root = Path(dnl.attention.parallel.__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", FORKED], cwd=root, timeout=120, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("kind", ["learnt", "box"])
def test_folding_equals_autograd_through_its_definition(kind, monkeypatch):
    monkeypatch.setattr(dnl.attention.retention, "FOLDED", 200)
    inputs = [tensor.requires_grad_() for tensor in random_maps(3, 3, 10, dtype=torch.float64)]
    query, key, value = inputs
    expected = retain_values(value, retention_weights(query, key, 3, kind))
    folded = fold_retention(query, key, value, 3, kind)
    torch.testing.assert_close(folded, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(value)
    counting = inputs if kind == "learnt" else inputs[2:]
    ours, wanted = (torch.autograd.grad((result * weights).sum(), counting) for result in (folded, expected))
    for gradient, reference in zip(ours, wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=0, atol=1e-12)


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


def test_classes_of_one_cell_and_classes_that_nothing_has():
    query, key, value = random_maps(3, 3, 6, batch=3, dtype=torch.float64)
    labels = torch.randint(0, 4, (3, 35), generator=torch.Generator().manual_seed(1))
    labels[0] = 2  # one class alone
    labels[1] = torch.arange(35)  # every cell a class of its own
    probs = torch.nn.functional.one_hot(labels, 40).double().transpose(1, 2).unflatten(-1, (5, 7))
    gathered = denoised_attention(query, key, value, probs, gate="binary")
    rows = attention_stages(query, key, probs, gate="binary").retained.flatten(2)
    expected = torch.einsum("bnm,bcm->bcn", rows, value.flatten(2))
    torch.testing.assert_close(gathered.flatten(2), expected, rtol=0, atol=1e-12)


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


@pytest.mark.parametrize("activation", ["none", "sigmoid"])
def test_a_product_with_its_activation(activation):
    generator = torch.Generator().manual_seed(6)
    left, right = torch.randn(37, 19, generator=generator), torch.randn(50, 19, generator=generator)
    expected = left.double() @ right.double().t()
    expected = expected.sigmoid() if activation == "sigmoid" else expected
    for operand in (right, packed(right)):
        torch.testing.assert_close(product(left, operand, activation).double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(product(left.double(), right.double(), activation), expected)
