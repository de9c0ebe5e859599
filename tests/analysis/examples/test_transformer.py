"""The example network: its arithmetic written out, its file, and attention that is worth looking at."""

import numpy as np
import pytest
import torch

import analysis
import analysis.examples.weights
from analysis.examples import VisionTransformer, read_card, vision_transformer
from analysis.examples.transformer import Attention
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from dnl.classes import CAMVID
from dnl.datasets import Streets
from dnl.transforms import normalise

LARGEST_FILE = 3 * 2**20


@pytest.fixture(scope="module")
def model():
    return vision_transformer()


def written_out(layer: Attention, tokens: torch.Tensor) -> torch.Tensor:
    """Weights heads×N×N of one image's tokens N×C, head by head in float64."""
    depth = tokens.shape[1] // layer.heads
    rows = []
    for head in range(layer.heads):
        own = slice(head * depth, (head + 1) * depth)
        query, key = (tokens @ part.weight.double()[own].T for part in (layer.query, layer.key))
        cosine = query @ key.T / (query.norm(dim=1)[:, None] * key.norm(dim=1))
        powers = torch.exp(layer.sharpness[head].double() * cosine)
        rows.append(powers / powers.sum(1, keepdim=True))
    return torch.stack(rows)


def test_attention_is_a_softmax_of_sharpened_cosines():
    torch.manual_seed(0)
    layer, tokens = Attention(12, 3), torch.randn(1, 15, 12)
    torch.nn.init.normal_(layer.key.weight)
    with torch.no_grad(), analysis.hook(torch.nn.Sequential(layer), "0") as caught:
        layer(tokens)
        weights = written_out(layer, tokens[0].double())
    for head in range(3):
        found = torch.from_numpy(caught.attention().rows(range(15), head=head))
        torch.testing.assert_close(found.double(), weights[head], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(60, 96), (61, 95), (240, 324)])
def test_logits_have_the_size_of_the_image(size):
    network = VisionTransformer(7, channels=16, depth=1, heads=2).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, *size)).shape == (2, 7, *size)


def test_the_file_is_small_and_says_what_it_holds(model):
    card = read_card()
    assert analysis.examples.weights.FILE.stat().st_size <= LARGEST_FILE
    assert tuple(card["classes"]) == CAMVID.class_names and card["ignore_index"] == CAMVID.ignore_index
    assert "free for research use only" in card["licence"] and "CamVid" in card["training"]
    assert not model.training


def noise_over_chance(capture) -> float:
    """Raw interclass noise over chance of every seventh cell, the mean over the classes of their queries' means."""
    labels = capture.cell_labels.ravel()
    queries = [cell for cell in range(0, labels.size, 7) if labels[cell] != capture.ignore_index]
    noise = query_metrics(
        attention_rows(capture, queries).raw, capture.cell_labels, queries, ignore_index=capture.ignore_index
    )
    classes = [labels[queries] == label for label in np.unique(labels[queries])]
    found, chance = ([np.nanmean(values[own]) for own in classes] for values in (noise.interclass_noise, noise.chance))
    return float(np.nanmean(found) / np.nanmean(chance))


def test_heads_differ_on_a_street_that_it_has_not_seen(model):
    scene = Streets("val")[0]
    with torch.no_grad(), analysis.watch(model, "blocks.*.attn") as watched:
        logits = model(normalise(scene.image)[None])
    valid = scene.labels != CAMVID.ignore_index
    assert (logits[0].argmax(0).numpy() == scene.labels)[valid].mean() > 0.8
    heads = [(path, head) for path in watched.paths for head in range(4)]
    noise = [
        noise_over_chance(watched.capture(path=path, head=head, labels=scene.labels, label_set=CAMVID))
        for path, head in heads
    ]
    assert len(heads) == 20 and min(noise) <= 0.5 and max(noise) >= 0.8
