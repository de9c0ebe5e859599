"""Exported programs against the model: a tiny network of every gate, and the command."""

import pytest
import torch

from dnl import ModelConfig, build_model, export
from dnl.checkpoints import load_checkpoint, save_checkpoint
from dnl.classes import LabelSet
from dnl.export import ExportError, export_model, multiply_adds

HEIGHT, WIDTH = 40, 56  # neither square nor a multiple of 16


def tiny_model(**options):
    torch.manual_seed(0)
    config = ModelConfig(backbone="resnet18", width=8, num_classes=3, attention_stride=8, gamma_init=2.0, **options)
    return build_model(config).eval()


@pytest.fixture
def checkpoint(tmp_path) -> str:
    model = tiny_model()
    model.label_set = LabelSet("tiny", ("a", "b", "c"), ((0, 0, 0),) * 3, 255)
    save_checkpoint(tmp_path / "tiny.safetensors", model, {})
    return str(tmp_path / "tiny.safetensors")


@pytest.mark.parametrize(
    "options", [{"gate": "sigmoid"}, {"gate": "binary"}, {"gate": "similarity", "lr_weights": "box"}, {"context": "nl"}]
)
def test_a_pt2_file_computes_what_the_model_does(options, tmp_path):
    model = tiny_model(**options)
    assert export_model(model, tmp_path / "model.pt2", HEIGHT, WIDTH) < 1e-4
    images = torch.randn(1, 3, HEIGHT, WIDTH)
    program = torch.export.load(tmp_path / "model.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(program(images), model(images).logits, rtol=1e-4, atol=1e-4)


def test_an_onnx_file_computes_what_the_model_does(tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed: the ONNX file cannot be made and run")
    assert export_model(tiny_model(), tmp_path / "model.onnx", HEIGHT, WIDTH) < 1e-3


@pytest.mark.parametrize(
    ("options", "of_classes"), [({"context": "nl"}, 0), ({"gate": "sigmoid"}, 1), ({"gate": "binary"}, 0)]
)
def test_multiply_adds_are_those_of_convolutions_and_of_the_two_attention_products(options, of_classes):
    model = tiny_model(**options)
    convolutions = 0

    def count(layer, _, output):
        nonlocal convolutions
        convolutions += output[0].numel() * layer.weight[0].numel()

    hooks = [layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    model(torch.randn(1, 3, HEIGHT, WIDTH))
    for hook in hooks:
        hook.remove()
    cells = 5 * 7
    depth, channels = len(model.context.query.weight), len(model.context.value.weight)
    attention = cells**2 * (depth + channels + of_classes * 3)
    assert multiply_adds(model, HEIGHT, WIDTH) == convolutions + attention
    assert all(weight.device.type == "cpu" for weight in model.parameters())


def test_onnx_without_its_packages_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda package: None)
    with pytest.raises(ExportError, match="pip install onnx onnxscript"):
        export_model(tiny_model(), tmp_path / "model.onnx", HEIGHT, WIDTH)


def test_a_program_that_differs_from_the_model_is_an_error_and_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    (tmp_path / "model.pt2").write_text("an earlier one")
    with pytest.raises(ExportError, match="differ from the model's by"):
        export_model(tiny_model(), tmp_path / "model.pt2", HEIGHT, WIDTH)
    assert (tmp_path / "model.pt2").read_text() == "an earlier one"


@pytest.mark.parametrize(
    ("height", "width"),
    [("0", "480"), ("360", "-480"), ("-360", "-480"), ("31", "480"), ("2048", "1025"), ("360", "9" * 30)],
)
def test_a_size_beyond_reason_is_one_sentence_and_nothing_is_written(checkpoint, tmp_path, capsys, height, width):
    out = tmp_path / "tiny.pt2"
    arguments = [f"--checkpoint={checkpoint}", f"--out={out}", f"--height={height}", f"--width={width}"]
    assert export.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: the size is {height}×{width} pixels; ") and said.count("\n") == 1
    assert "at least 32" in said and "at most 2,097,152" in said
    assert not out.exists()


def test_the_command_exports_a_checkpoint_and_refuses_nonsense(checkpoint, tmp_path, capsys):
    arguments = ["--checkpoint", checkpoint, "--height", str(HEIGHT), "--width", str(WIDTH)]
    assert export.main([*arguments, "--out", str(tmp_path / "tiny.pt2")]) == 0
    said = capsys.readouterr().out
    counted = multiply_adds(load_checkpoint(checkpoint)[0], HEIGHT, WIDTH) / 1e9
    assert "largest difference from PyTorch" in said and f"; {counted:,.1f} G multiply-adds" in said
    assert export.main([*arguments, "--out", str(tmp_path / "tiny.bin")]) == 1
    assert "give a file that ends in .pt2 or .onnx" in capsys.readouterr().err
    assert export.main([*arguments, "--out", str(tmp_path / "none" / "tiny.pt2")]) == 1
    assert f"the folder {tmp_path / 'none'} of" in capsys.readouterr().err
    assert export.main([*arguments, "--height", "8", "--out", str(tmp_path / "tiny.pt2")]) == 1
    assert "both sides must be at least 32" in capsys.readouterr().err
    assert export.main(["--checkpoint", "nothing", "--out", str(tmp_path / "x.pt2")]) == 1
    assert "there is no checkpoint 'nothing'" in capsys.readouterr().err
