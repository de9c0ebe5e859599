"""What a file is that is given for weights is said, whatever it is called."""

import gzip

import numpy as np
import pytest
import safetensors.torch
import torch

from dnl.checkpoints import CheckpointError, load_backbone, load_checkpoint
from dnl.network import ModelConfig, build_model


def network():
    return build_model(ModelConfig("resnet18", 8, 3, context="fcn", stem_expansion=1))


NOT_WEIGHTS = {
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 123\n", "a pointer of Git LFS"),
    "page": (b"\n<!DOCTYPE html><html>404</html>", "a web page in place of a file"),
    "index": (b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}', "a JSON text"),
    "packed": (gzip.compress(b"weights"), "packed by gzip; unpack it first"),
}


@pytest.mark.parametrize("kind", NOT_WEIGHTS)
def test_what_is_there_in_place_of_weights_is_said(kind, tmp_path):
    content, words = NOT_WEIGHTS[kind]
    model = network()
    for name in ("model.safetensors", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(content)
        for load in (load_checkpoint, lambda file: load_backbone(file, model)):
            with pytest.raises(CheckpointError, match=rf"{name} is {words}"):
                load(tmp_path / name)


@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin", "best.pth.tar", "w.pkl", "renamed.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_torch_save_is_told_apart_by_its_content(zipped, name, tmp_path):
    """As a checkpoint it is refused, as weights alone it is read, whatever it is called."""
    model, other = network(), network()
    state = model.backbone.state_dict()
    theirs = {key.replace("stage", "layer"): tensor for key, tensor in state.items()}
    torch.save(theirs, tmp_path / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=rf"{name} is a file of torch.save: .*load_reference reads weights"):
        load_checkpoint(tmp_path / name)
    load_backbone(tmp_path / name, other)
    assert all(torch.equal(tensor, other.backbone.state_dict()[key]) for key, tensor in state.items())


def test_any_other_archive_and_safetensors_by_another_name(tmp_path):
    with (tmp_path / "a.safetensors").open("wb") as file:
        np.savez(file, a=np.zeros(2))
    with pytest.raises(CheckpointError, match=r"a\.safetensors is a zip archive without weights"):
        load_checkpoint(tmp_path / "a.safetensors")
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match=r"by a naming known here .* its keys are a$"):
        load_backbone(tmp_path / "model.bin", network())
