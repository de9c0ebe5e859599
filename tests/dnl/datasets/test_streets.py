"""The painted streets: reproducible, correctly labelled, and like CamVid in what they show."""

import numpy as np
import pytest

from dnl.classes import CAMVID
from dnl.datasets.streets import SPLIT_SEEDS, Streets, render_street

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
NUM_SCENES = 30


@pytest.fixture(scope="module")
def scenes():
    """Images N×360×480×3 and labels N×360×480 of the first evaluation scenes."""
    images, labels = zip(*(render_street(SPLIT_SEEDS["val"], index) for index in range(NUM_SCENES)), strict=True)
    return np.stack(images), np.stack(labels)


def test_image_and_labels_have_the_promised_shape_and_range(scenes):
    images, labels = scenes
    assert images.shape == (NUM_SCENES, 360, 480, 3) and images.dtype == np.uint8
    assert labels.shape == (NUM_SCENES, 360, 480) and labels.dtype == np.uint8
    assert labels.max() < CAMVID.num_classes


def test_a_scene_does_not_depend_on_what_was_rendered_before(scenes):
    images, labels = scenes
    np.random.seed(5)  # the global generator must not matter
    for index in (7, 2, 7):
        image, label = render_street(SPLIT_SEEDS["val"], index)
        np.testing.assert_array_equal(image, images[index])
        np.testing.assert_array_equal(label, labels[index])


def test_scenes_and_splits_differ(scenes):
    images, _ = scenes
    others = [Streets(split, 4)[index].image for split in SPLIT_SEEDS for index in range(4)]
    assert len({image.tobytes() for image in others}) == 12
    assert len({image.tobytes() for image in images}) == NUM_SCENES
    assert len(set(SPLIT_SEEDS.values())) == len(SPLIT_SEEDS)


def test_every_class_is_common_enough_to_be_learnt(scenes):
    _, labels = scenes
    pixels = np.stack([np.bincount(label.ravel(), minlength=11) for label in labels])
    occurs = (pixels > 100).mean(axis=0)
    assert occurs.min() >= 0.3
    assert occurs[[SKY, ROAD, BUILDING]].min() >= 0.9


def test_pixel_shares_resemble_camvid(scenes):
    _, labels = scenes
    share = np.bincount(labels.ravel(), minlength=11) / labels.size
    assert 0.2 < share[ROAD] < 0.45
    assert 0.15 < share[BUILDING] < 0.4
    assert 0.05 < share[SKY] < 0.3
    assert share[[POLE, SIGN, FENCE, PEDESTRIAN, BICYCLIST]].max() < 0.05 < share[TREE] + share[CAR]


def test_composition_is_the_view_through_a_windscreen(scenes):
    _, labels = scenes
    assert (labels[:, :60] == SKY).mean() > (labels[:, 100:160] == SKY).mean()
    assert (labels[:, 220:] == SKY).sum() == 0
    assert (labels[:, 320:, 160:320] == ROAD).mean() > 0.8
    assert (labels[:, :100] == ROAD).sum() == 0


def test_colours_agree_with_labels(scenes):
    """What a painter would check without knowing the code: bright sky, grey road, leaves without blue."""
    images, labels = scenes
    colour = {kind: images[labels == kind].mean(axis=0) for kind in (SKY, ROAD, TREE)}
    assert colour[SKY].mean() > colour[ROAD].mean() + 40
    assert np.ptp(colour[ROAD]) < 20
    assert colour[TREE][2] < colour[TREE][:2].min() - 15


def test_label_borders_lie_on_image_edges(scenes):
    """The image changes more where the label changes than elsewhere, and less so if the labels are shifted."""
    images, labels = scenes
    step = np.abs(np.diff(images.astype(np.float32).mean(axis=-1), axis=2))
    border = np.diff(labels.astype(int), axis=2) != 0
    on_border = step[border].mean()
    assert on_border > 3 * step[~border].mean()
    for shift in (-4, 4):
        assert on_border > 1.5 * step[np.roll(border, shift, axis=2)].mean()


def test_data_set_hands_out_named_samples():
    gallery = Streets("gallery")
    assert len(gallery) == 12 and len(Streets("val")) == 100 and len(Streets()) == 2000
    assert gallery.label_set is CAMVID
    sample = gallery[3]
    assert sample.name == "street-gallery-0003"
    image, labels = render_street(SPLIT_SEEDS["gallery"], 3)
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.labels, labels)


@pytest.mark.parametrize("index", [-1, 5, 6])
def test_index_out_of_range(index):
    with pytest.raises(IndexError, match="0 … 4"):
        Streets("val", length=5)[index]


def test_wrong_arguments_say_what_is_known():
    with pytest.raises(ValueError, match="train, val, gallery"):
        Streets("test")
    with pytest.raises(ValueError, match="-3"):
        Streets("val", length=-3)
