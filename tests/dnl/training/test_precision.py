"""The precision that a training computes in: as asked for, or the faster one, and the same after a resumption."""

import dataclasses

import pytest
import torch
from torch import nn

from dnl.network import build_model
from dnl.training import precision, recipe
from dnl.training.precision import Convolution, Timing, autocast_dtype, convolutions, measured_precision

CPU = torch.device("cpu")


def asking(choice, **model):
    config = recipe("camvid_dnl")
    return dataclasses.replace(config, precision=choice, model=dataclasses.replace(config.model, width=8, **model))


@pytest.fixture
def timed(monkeypatch):
    """timed(float32=…, bfloat16=…): the seconds of every probe from then on; returns the probes that are timed."""
    precision._measured.cache_clear()

    def pretend(**seconds):
        probes = []

        def take(probe, dtype):
            probes.append(probe)
            return seconds[str(dtype).removeprefix("torch.")]

        monkeypatch.setattr(precision, "_seconds", take)
        return probes

    yield pretend
    precision._measured.cache_clear()


def test_a_precision_that_is_asked_for_is_not_measured(timed):
    probes = timed(float32=1.0, bfloat16=2.0)
    for name in ("float32", "bfloat16", "float16"):
        assert autocast_dtype(asking(name), CPU) == getattr(torch, name)
    assert not probes


@pytest.mark.parametrize(
    ("seconds", "faster"),
    [((0.030, 0.012), "bfloat16"), ((0.012, 0.030), "float32"), ((0.0301, 0.0300), "float32")],
)
def test_the_faster_precision_is_taken_and_a_tie_is_not_rounded_for(timed, seconds, faster):
    timed(float32=seconds[0], bfloat16=seconds[1])
    assert autocast_dtype(asking("auto"), CPU) == getattr(torch, faster)


def test_each_network_on_crops_of_a_size_is_measured_once(timed):
    probes = timed(float32=0.2, bfloat16=0.1)
    config = asking("auto")
    measured_precision(config, CPU)
    first = len(probes)
    measured_precision(dataclasses.replace(config, learning_rate=1.0), CPU)
    assert 0 < len(probes) == first
    measured_precision(dataclasses.replace(config, crop_height=320), CPU)
    measured_precision(asking("auto", context="fcn"), CPU)
    assert len(probes) == 3 * first


def test_a_hopeless_bfloat16_is_not_asked_again(timed):
    """Without instructions for it, one call of the published network's convolutions takes eight seconds."""
    probes = timed(float32=0.02, bfloat16=0.5)
    timing = measured_precision(asking("auto"), CPU)
    assert timing.faster == "float32" and timing.bfloat16 / timing.float32 == pytest.approx(25)
    assert len(probes) == 2
    probes = timed(float32=0.002, bfloat16=0.05)  # as first calls may, which build what later ones find
    precision._measured.cache_clear()
    measured_precision(asking("auto"), CPU)
    assert len(probes) > 2 * precision.PROBE_KINDS


def test_the_convolutions_are_those_of_the_network_on_its_crops():
    config, seen = asking("auto").model, []
    model = build_model(config).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda layer, given, _: seen.append((layer.in_channels, layer.out_channels, *given[0].shape[2:]))
            )
    with torch.no_grad():
        model.encode(torch.zeros(1, 3, 128, 192))
    found = convolutions(config, 128, 192)
    assert sum(found.values()) == len(seen)
    assert {(kind.channels, kind.filters, kind.height, kind.width) for kind in found} == set(seen)
    assert Convolution(4, 6, 3, 2, 1, 8, 10).row_work == 10 * 4 * 6 * 9 / 4


def test_measuring_takes_both_in_turns_and_leaves_random_numbers_alone(monkeypatch):
    calls, seconds = [], precision._seconds
    monkeypatch.setattr(precision, "_seconds", lambda *given: calls.append(given[1]) or seconds(*given))
    precision._measured.cache_clear()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    timing = measured_precision(asking("auto"), CPU)
    assert torch.equal(torch.rand(3), expected)
    assert calls[::2] == [torch.float32] * (len(calls) // 2) and calls[1::2] == [torch.bfloat16] * (len(calls) // 2)
    assert len(calls) >= 4 and min(timing) > 0


def test_the_reason_is_said_with_both_times():
    assert Timing(0.030, 0.012).sentence == (
        "precision: bfloat16, 2.50 times as fast here as float32 "
        "(12 against 30 ms for the heaviest convolutions of one image)"
    )
    assert Timing(0.012, 0.018).sentence.startswith("precision: float32, 1.50 times as fast here as bfloat16 (12 ")


def test_a_run_records_its_precision_and_goes_on_with_it(tiny_run, timed, capsys):
    timed(float32=0.01, bfloat16=0.02)
    run = tiny_run("run")
    assert run(settings=["precision=auto", "epochs=1", "attention_restart=0"]) == 0
    assert "precision: float32, 2.00 times as fast here as bfloat16" in capsys.readouterr().out
    assert run.config["precision"] == "float32"
    precision._measured.cache_clear()
    timed(float32=0.02, bfloat16=0.01)  # another machine
    assert run.resume() == 0
    assert "precision:" not in capsys.readouterr().out and run.config["precision"] == "float32"
    assert run.resume("precision=auto") == 0
    assert "precision: bfloat16" in capsys.readouterr().out
    assert run.config["precision"] == "bfloat16"
    assert run.config["changes"][-1] == {"after_epoch": 1, "precision": ["auto", "bfloat16"]}
