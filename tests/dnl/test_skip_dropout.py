"""Dropout of the skip: which values come through, in training and at test time."""

import pytest
import torch

from dnl.config import ModelConfig
from dnl.network import SkipDropout, build_model

MAPS = torch.arange(1.0, 1 + 400 * 3 * 2).reshape(400, 3, 2, 1)


def test_at_test_time_everything_comes_through():
    assert torch.equal(SkipDropout(0.5, 0.8).eval()(MAPS), MAPS)


def test_single_channels_are_dropped_and_the_others_scaled():
    torch.manual_seed(0)
    dropped = SkipDropout(0.75, 0.0)(MAPS)
    gone = (dropped == 0).flatten(2).all(2)
    assert torch.equal(dropped[~gone], 4 * MAPS[~gone])  # 1/(1 − 0.75)
    assert gone.float().mean() == pytest.approx(0.75, abs=0.05)


def test_an_image_has_all_of_its_skip_or_none_and_it_is_not_scaled():
    torch.manual_seed(0)
    dropped = SkipDropout(0.0, 0.8)(MAPS)
    gone = (dropped == 0).flatten(1).all(1)
    assert torch.equal(dropped[~gone], MAPS[~gone])
    assert gone.float().mean() == pytest.approx(0.8, abs=0.06)


def test_both_at_once_multiply():
    torch.manual_seed(1)
    dropped = SkipDropout(0.5, 0.5)(MAPS)
    kept = dropped != 0
    assert torch.equal(dropped[kept], 2 * MAPS[kept])
    assert kept.float().mean() == pytest.approx(0.25, abs=0.05)


def test_half_precision_stays_and_gradients_come_through_what_is_kept():
    maps = MAPS.to(torch.bfloat16).requires_grad_()
    torch.manual_seed(0)
    dropped = SkipDropout(0.0, 0.5)(maps)
    assert dropped.dtype == torch.bfloat16
    dropped.sum().backward()
    assert torch.equal(maps.grad != 0, dropped != 0)


def test_the_network_takes_both_from_its_configuration():
    skip = build_model(ModelConfig(backbone="resnet18", width=8, skip_dropout=0.4, skip_absence=0.8)).skip_dropout
    assert (skip.channels, skip.absence) == (0.4, 0.8)
    with pytest.raises(ValueError, match=r"skip_absence is 1\.0; it must lie in 0 … 1, below 1"):
        ModelConfig(skip_absence=1.0)
