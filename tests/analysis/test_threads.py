import threading

import numpy as np
import pytest
import torch

from analysis.capture import capture_attention
from analysis.measure import measure_capture
from analysis.threads import one_thread, share
from dnl import ModelConfig, build_model
from dnl.classes import CAMVID


@pytest.fixture
def threads():
    """Set torch's number of threads; afterwards it is what it was."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_one_thread_holds_within_the_block_alone(threads):
    threads(3)
    with one_thread() as usual:
        assert usual == 3 and torch.get_num_threads() == 1
        with one_thread():
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    with pytest.raises(RuntimeError), one_thread():
        raise RuntimeError
    assert torch.get_num_threads() == 3


def test_blocks_that_overlap_on_two_threads_leave_the_number_as_it_was(threads):
    threads(3)
    begun, first_is_over, seen = threading.Event(), threading.Event(), []

    def second():
        with one_thread():
            begun.set()
            first_is_over.wait(10)
            seen.append(torch.get_num_threads())

    other = threading.Thread(target=second)
    with one_thread():
        other.start()
        begun.wait(10)
    first_is_over.set()
    other.join(10)
    assert seen == [1] and torch.get_num_threads() == 3
    fresh = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    fresh.start()
    fresh.join(10)
    assert seen == [1, 3]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shared_work_comes_back_in_order_each_piece_on_one_thread(count, threads):
    with one_thread():
        assert list(share(lambda piece: (piece, torch.get_num_threads()), range(20), count)) == [
            (piece, 1) for piece in range(20)
        ]


def test_an_error_in_shared_work_ends_it(threads):
    done = []

    def work(piece):
        if piece == 3:
            raise KeyError(piece)
        done.append(piece)

    with one_thread(), pytest.raises(KeyError):
        list(share(work, range(1000), 2))
    assert len(done) < 1000


def test_captures_and_metrics_are_the_same_on_any_number_of_threads(threads):
    torch.manual_seed(0)
    model = build_model(ModelConfig("resnet18", 8, 11, attention_stride=8, gamma_init=0.5)).eval()
    model.label_set = CAMVID
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (72, 104, 3), np.uint8)
    labels = np.kron(rng.integers(0, 6, (9, 13)), np.ones((8, 8), int))
    found = []
    for count in (1, 2, 3, 4):
        threads(count)
        capture = capture_attention(model, image, labels=labels)
        report = measure_capture(capture)
        arrays = [capture.query, capture.key, capture.class_probs, np.float64(report.query_dependence)]
        for stage in report.stages:
            arrays += [*report.stages[stage], *report.detection[stage], report.hollow_curve[stage]]
        found.append([array.tobytes() for array in arrays])
        assert torch.get_num_threads() == count
    assert found[1:] == found[:1] * 3
