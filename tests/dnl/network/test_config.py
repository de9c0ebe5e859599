"""The network's configuration refuses what makes no sense, and does not change."""

import dataclasses

import pytest

from dnl.network import ModelConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"backbone": "vgg16"},
            "backbone is 'vgg16'; choose one of resnet18, resnet34, resnet50, resnet101, efficientnet",
        ),
        ({"context": "gr"}, r"context is 'gr'; choose one of fcn, nl, nl\+gr, nl\+lr, dnl"),
        ({"gate": None}, "gate is None; choose one of sigmoid, binary, similarity"),
        ({"lr_weights": "flat"}, "lr_weights is 'flat'; choose one of learnt, box"),
        ({"attention_stride": 4}, "attention_stride is 4; choose one of 8, 16"),
        ({"head_stride": 16}, "head_stride is 16; choose one of 2, 4, 8"),
        ({"width": 12}, "width is 12; it must be a multiple of 8"),
        ({"width": 0}, "width is 0"),
        ({"num_classes": 1}, "num_classes is 1; segmentation needs at least 2"),
        ({"lr_kernel": 2}, "lr_kernel is 2; it must be odd"),
        ({"skip_dropout": 1.0}, r"skip_dropout is 1\.0; it must lie in 0 … 1, below 1"),
    ],
)
def test_configurations_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**options)


def test_configuration_cannot_be_changed_behind_the_model():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().width = 32
