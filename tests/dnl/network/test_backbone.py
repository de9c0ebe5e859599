"""The dilated ResNet has the strides and dilations of the release."""

import pytest

from dnl.network.backbone import LAYOUTS, DilatedResNet


@pytest.mark.parametrize("name", LAYOUTS)
def test_output_stride_is_8_and_dilations_are_those_of_the_release(name):
    backbone = DilatedResNet(name, width=8)
    conv = "conv1" if name in ("resnet18", "resnet34") else "conv2"  # the convolution that carries the stride

    def of_stage(stage, attribute):
        return [getattr(getattr(block, conv), attribute)[0] for block in stage]

    stages = (backbone.stage1, backbone.stage2, backbone.stage3, backbone.stage4)
    assert [of_stage(stage, "stride")[0] for stage in stages] == [1, 2, 1, 1]
    assert all(stride == 1 for stage in stages for stride in of_stage(stage, "stride")[1:])
    assert set(of_stage(backbone.stage1, "dilation") + of_stage(backbone.stage2, "dilation")) == {1}
    assert set(of_stage(backbone.stage3, "dilation")) == {2}
    assert of_stage(backbone.stage4, "dilation") == [4, 8, 16][: len(backbone.stage4)]
