"""Training recipes: named presets, each with a note that says where its values come from."""

import dataclasses
import textwrap

from dnl.network import ModelConfig
from dnl.network.config import EFFICIENTNET
from dnl.training.config import TrainConfig, flat

# From scratch on a CPU. What keeps the attention alive: query and key projections that start whitened, learn slowly
# and decay; a γ so large that Y is nearly all attention; and a head that first learns without the stage-4 skip, which
# then slowly adds what the attention lacks. Dropout on the skip instead teaches each path to do without the other.
_CAMVID = TrainConfig(
    model=ModelConfig(
        backbone="resnet18",
        width=32,
        num_classes=11,
        attention_stride=8,
        gamma_init=4.0,
    ),
    dataset="camvid",
    streets_per_epoch=123,  # a quarter of what is seen
    epochs=84,
    batch_size=4,
    crop_height=288,
    crop_width=384,
    min_scale=0.7,
    max_scale=1.75,
    loss_stride=2,
    warmup_steps=200,
    query_key_rate=0.05,
    logit_std=2.5,
    attention_restart=10,  # when the features tell classes apart
    skip_from=50,
    skip_rate=0.005,
    largest_class_weight=0.0,  # Lovász-softmax counts every class alike
    lovasz_weight=1.0,
    evaluate_every=6,
)

# On the weights of `_CAMVID`, with stage 1 in the head. The attention is alive: nothing of it starts anew, and the skip
# may learn faster.
_CAMVID_REFINED = dataclasses.replace(
    _CAMVID,
    model=dataclasses.replace(_CAMVID.model, head_stride=4),
    fresh_parts="refine",
    epochs=40,
    learning_rate=1e-3,
    warmup_steps=100,
    logit_std=0.0,
    attention_restart=0,
    skip_from=0,
    skip_rate=0.03,
    evaluate_every=8,
)

# Once more, on the weights of `_CAMVID_REFINED`: photos of more scales, and as other cameras would have taken them.
_CAMVID_VARIED = dataclasses.replace(
    _CAMVID_REFINED,
    fresh_parts="",
    epochs=48,
    min_scale=0.6,
    max_scale=2.0,
    gamma_change=0.2,
    colour_cast=0.05,
    blur=0.5,
    sensor_noise=3.0,
    warmup_steps=150,
)

# Once more, on the weights of `_CAMVID_VARIED`, what comes after the attention alone, with the stem beside it: on whole
# photos, as they are predicted. The attention and what it sees stay as they are.
_CAMVID_SHARPENED = dataclasses.replace(
    _CAMVID_VARIED,
    model=dataclasses.replace(_CAMVID_VARIED.model, head_stride=2),
    streets_per_epoch=0,
    fresh_parts="sharpen",
    learning_parts="fuse,head,refine,sharpen",
    epochs=10,
    crop_height=360,
    crop_width=480,
    min_scale=0.75,
    evaluate_every=5,
)

# Then all of it but the stem and the first stage, with what is small in other photos laid over.
_CAMVID_PASTED = dataclasses.replace(
    _CAMVID_SHARPENED,
    streets_per_epoch=41,
    paste_rate=0.5,
    fresh_parts="",
    learning_parts="",
    frozen_stages=1,
    epochs=7,
    learning_rate=5e-4,
    crop_height=288,
    crop_width=384,
    min_scale=0.6,
    warmup_steps=35,
)

# `_CAMVID` on a small backbone that knows ImageNet. What it has learnt is kept (its stem, first stage and norms' own
# statistics) or learns slowly, the heads as fast as above. Photos take on the looks of other cameras instead of streets
# among them. Its features tell classes apart from the start, so attention and skip begin earlier, and the skip learns
# faster.
_CAMVID_LITE0 = dataclasses.replace(
    _CAMVID,
    model=dataclasses.replace(_CAMVID.model, backbone=EFFICIENTNET),
    streets_per_epoch=0,
    epochs=32,
    min_scale=0.6,
    max_scale=2.0,
    gamma_change=0.3,
    colour_cast=0.1,
    blur=0.7,
    sensor_noise=5.0,
    learning_rate=5e-4,
    head_rate=4.0,
    warmup_steps=100,
    attention_restart=3,
    skip_from=16,
    skip_rate=0.01,
    freeze_backbone_norms=True,
    frozen_stages=1,
    evaluate_every=8,
)

# The published network on the published data sets, for GPUs. What is known of the method, and nothing of `_CAMVID`'s
# means: query and key start and learn like all else.
_PUBLISHED = TrainConfig(
    optimizer="sgd",
    momentum=0.9,
    learning_rate=0.01,
    weight_decay=5e-4,
    poly_power=0.9,
    warmup_steps=1000,
    head_rate=10.0,
    query_key_rate=1.0,
    query_key_decay=5e-4,
    logit_std=0.0,
    min_scale=0.5,
    max_scale=2.0,
    gradient_clip=0.0,
    largest_class_weight=0.0,
    auxiliary_weight=0.4,
    ema_decay=0.0,
    settling_batches=0,
    evaluate_every=20,
    workers=4,
    keep_in_memory=False,
)


def _twin(config: TrainConfig, context: str) -> TrainConfig:
    """The same training of a network with another block."""
    return dataclasses.replace(config, model=dataclasses.replace(config.model, context=context))


RECIPES = {
    "camvid_dnl": _CAMVID,
    "camvid_nl": _twin(_CAMVID, "nl"),
    "camvid_fcn": _twin(_CAMVID, "fcn"),
    "camvid_dnl_refined": _CAMVID_REFINED,
    "camvid_nl_refined": _twin(_CAMVID_REFINED, "nl"),
    "camvid_dnl_varied": _CAMVID_VARIED,
    "camvid_nl_varied": _twin(_CAMVID_VARIED, "nl"),
    "camvid_dnl_sharpened": _CAMVID_SHARPENED,
    "camvid_nl_sharpened": _twin(_CAMVID_SHARPENED, "nl"),
    "camvid_dnl_pasted": _CAMVID_PASTED,
    "camvid_nl_pasted": _twin(_CAMVID_PASTED, "nl"),
    "camvid_dnl_lite0": _CAMVID_LITE0,
    "camvid_nl_lite0": _twin(_CAMVID_LITE0, "nl"),
    "cityscapes_dnl_r101": dataclasses.replace(
        _PUBLISHED,
        model=ModelConfig(num_classes=19),
        dataset="cityscapes",
        crop_height=769,
        crop_width=769,
        batch_size=8,
        epochs=216,  # 80,136 updates on 2,975 images
        ohem_threshold=0.7,
    ),
    "ade20k_dnl_r101": dataclasses.replace(
        _PUBLISHED,
        model=ModelConfig(num_classes=150),
        dataset="ade20k",
        crop_height=512,
        crop_width=512,
        batch_size=16,
        epochs=127,  # 160,401 updates on 20,210 images
    ),
}

# Recipes that are of no use from scratch, and whose weights they are for.
GOES_ON = {
    "camvid_dnl_varied": "camvid_dnl_refined",
    "camvid_nl_varied": "camvid_nl_refined",
    "camvid_dnl_sharpened": "camvid_dnl_varied",
    "camvid_nl_sharpened": "camvid_nl_varied",
    "camvid_dnl_pasted": "camvid_dnl_sharpened",
    "camvid_nl_pasted": "camvid_nl_sharpened",
}

_CAMVID_NOTE = """
These values are this project's own, found by measuring: the method's paper does not use CamVid. From scratch, on a CPU,
with built-in streets among the images of every epoch. model.gamma_init, skip_from, skip_rate, query_key_rate,
query_key_decay, logit_std and attention_restart are there to keep the attention alive.
"""

_CAMVID_REFINED_NOTE = """
These values are this project's own, too: a second training, of weights that camvid_dnl has learnt, named by
--set start_from=runs/NAME/model.safetensors. The main head predicts at stride 4, where it sees stage 1 beside its own
features (model.head_stride=4), for classes that are thin: Pole, SignSymbol, Pedestrian. What sees it starts as a plain
resize, so that nothing learnt is lost. One run took weights of camvid_dnl from 0.727 to 0.756 mean IoU on val, and from
0.619 to 0.641 on test.
"""

_CAMVID_VARIED_NOTE = """
These values are this project's own, too: a third training, of weights that camvid_dnl_refined has learnt, named by
--set start_from=runs/NAME/model.safetensors, on photos of more scales, with other light, colours, focus and noise.
Nothing of it was compared with other values. One run took weights of camvid_dnl_refined from 0.756 to 0.762 mean IoU on
val, and from 0.641 to 0.648 on test.
"""

_CAMVID_SHARPENED_NOTE = """
These values are this project's own, too: a fourth training, of weights that camvid_dnl_varied has learnt, named by
--set start_from=runs/NAME/model.safetensors, of what comes after the attention alone (learning_parts), on whole photos.
The main head predicts at stride 2, where it sees the stem's map as well (model.head_stride=2), for classes that are
thin. Backbone and attention stay as they are, and so does every attention map. Nothing of it was compared with other
values. One run took weights of camvid_dnl_varied from 0.762 to 0.768 mean IoU on val, and from 0.648 to 0.654 on test.
"""

_CAMVID_PASTED_NOTE = """
These values are this project's own, too: a fifth training, of weights that camvid_dnl_sharpened has learnt, named by
--set start_from=runs/NAME/model.safetensors, of all but
the stem and the first stage. What is small in one photo (pole, sign, pedestrian,
bicyclist, often fence) is laid over half of the crops of others, so that it is seen more often and before more streets.
Nothing of it was compared with other values. Two runs, one of 7 epochs and from its weights one of 6 with seed 1, kept
weights of camvid_dnl_sharpened at 0.768 to 0.769 mean IoU on val; the mean of the weights before, between and after
them has 0.772, and 0.657 on test for 0.654: that is the shipped camvid-dnl.
"""

_CAMVID_LITE0_NOTE = """
These values are this project's own, too: camvid_dnl with EfficientNet-Lite0 as its backbone, which starts from weights
learnt on ImageNet: --set backbone_weights=FILE, where docs/training.md says which and where they come from. Measured
with drive 0006R0 left out of train (--set dev_group=0006R0), 8 epochs of the other 266 images, one run each: a skip
that learns at full speed from the start gives 0.445 mean IoU, and 0.436 without the attention, which then does next to
nothing; one that comes in after 4 epochs at skip_rate 0.05 gives 0.428, and 0.374 without the attention; after 5 epochs
at 0.005, 0.399. One run on all of train gives 0.700 on val, where camvid_dnl's longer one gives 0.727.
"""

_PUBLISHED_NOTE = """
The network is that of the authors' released model definition. Their training code and settings for this network are not
public, so every training value here is inferred.

From the released training script of AttaNet, earlier work of the same first author on Cityscapes: SGD, learning_rate
0.01, momentum 0.9, weight_decay 5e-4, poly_power 0.9, warmup_steps 1000. From mmsegmentation, in its configurations of
the non-local network with ResNet-101: {crop}, random scale 0.5 … 2 with mirroring and photometric jitter,
auxiliary_weight 0.4, {schedule}, synchronised batch norm, no class weights, no gradient clipping, no averaged weights.
head_rate 10 is among the training tricks in mmsegmentation's documentation, not in its configurations. {ohem}

γ starts at 0 as in the release. No special treatment of query and key is known, so they get none: query_key_rate 1,
query_key_decay = weight_decay, logit_std 0. Trained so, the attention may stay
unused: check it with `dnl.evaluate --gamma 0`, and see camvid_dnl for what keeps it alive.

Where this differs from those sources: two auxiliary losses, on stages 2 and 3, which the release has, instead of
mmsegmentation's one; norms and biases do not decay, and the rate falls to 0, unlike mmsegmentation's; crops are taken
anywhere, while mmsegmentation avoids those of nearly one class; the jitter leaves the hue alone. Batch norm is
synchronised only on several GPUs: CPU processes each normalise by their own share of a batch. Networks of this
kind usually start from ImageNet weights, which this preset does not name: --set backbone_weights=FILE takes those of
MIT's CSAIL and timm's resnet101s, which have the release's stem; with --set model.stem_expansion=1 OpenMMLab's
resnet101_v1c and timm's resnet101c, with --set model.deep_stem=false torchvision's.
"""

NOTES = {
    "camvid_dnl": _CAMVID_NOTE,
    "camvid_nl": _CAMVID_NOTE + "The plain non-local twin of camvid_dnl: all else is the same.",
    "camvid_dnl_refined": _CAMVID_REFINED_NOTE,
    "camvid_nl_refined": _CAMVID_REFINED_NOTE + "The plain non-local twin of camvid_dnl_refined: all else is the same.",
    "camvid_dnl_varied": _CAMVID_VARIED_NOTE,
    "camvid_nl_varied": _CAMVID_VARIED_NOTE + "The plain non-local twin of camvid_dnl_varied: all else is the same.",
    "camvid_dnl_sharpened": _CAMVID_SHARPENED_NOTE,
    "camvid_nl_sharpened": _CAMVID_SHARPENED_NOTE
    + "The plain non-local twin of camvid_dnl_sharpened: all else is the same.",
    "camvid_dnl_pasted": _CAMVID_PASTED_NOTE,
    "camvid_nl_pasted": _CAMVID_PASTED_NOTE + "The plain non-local twin of camvid_dnl_pasted: all else is the same.",
    "camvid_dnl_lite0": _CAMVID_LITE0_NOTE,
    "camvid_nl_lite0": _CAMVID_LITE0_NOTE + "The plain non-local twin of camvid_dnl_lite0: all else is the same.",
    "camvid_fcn": _CAMVID_NOTE + "The twin of camvid_dnl without attention: all else is the same.",
    "cityscapes_dnl_r101": _PUBLISHED_NOTE.format(
        crop="crops of 769×769, which suit resizing with align_corners",
        schedule="batches of 8 and 80,000 updates",
        ohem="ohem_threshold 0.7 is AttaNet's, and that of the example in mmsegmentation's documentation; that at "
        "least ohem_least = 1/16 of the pixels are kept is AttaNet's half a crop in a batch of 8, here applied to each "
        "image.",
    ),
    "ade20k_dnl_r101": _PUBLISHED_NOTE.format(
        crop="crops of 512×512",
        schedule="batches of 16 and 160,000 updates",
        ohem="OHEM is off (ohem_threshold 1), because neither source has it on for this data set; 0.7 turns it on.",
    )
    + "\nScales are relative to the published images; mmsegmentation first brings their shorter side to 512.",
}


def recipe(name: str) -> TrainConfig:
    """The recipe of that name; raises ValueError naming those there are."""
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def describe(name: str, config: TrainConfig) -> str:
    """The preset's note, and every value of `config` as `key=value`, with the preset's own where it was overridden."""
    preset = flat(recipe(name))
    paragraphs = [textwrap.fill(paragraph, 100) for paragraph in NOTES[name].strip().split("\n\n")]
    lines = [
        f"{key}={value}" + ("" if value == preset[key] else f"  (the preset has {preset[key]})")
        for key, value in flat(config).items()
    ]
    return "\n\n".join([f"recipe {name}", *paragraphs, "\n".join(lines)])
