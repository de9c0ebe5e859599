"""Training recipes: typed, named presets, every value of which can be overridden on the command line."""

import dataclasses
import textwrap
import typing
from dataclasses import dataclass, field

from dnl.network import ModelConfig
from dnl.network.config import EFFICIENTNET
from dnl.untrusted import one_line, require_type, shortened

# Of whole numbers: the least that makes sense, and far more than anybody needs.
RANGES = {
    "epochs": (1, 100_000),
    "batch_size": (1, 4096),
    "accumulation": (1, 4096),
    "crop_height": (32, 8192),
    "crop_width": (32, 8192),
    "loss_stride": (1, 64),
    "lovasz_stride": (1, 64),
    "evaluate_every": (1, 100_000),
    "streets_per_epoch": (0, 1_000_000),
    "streets_pool": (1, 1_000_000),
    "warmup_steps": (0, 1_000_000_000),
    "attention_restart": (0, 100_000),
    "skip_from": (0, 100_000),
    "settling_batches": (0, 1_000_000),
    "frozen_stages": (0, 4),
    "workers": (0, 256),
    "seed": (0, 2**63 - 1),
}

# How far the look of photos can be changed: `dnl.transforms.OtherCamera`.
LOOK_RANGES = {"gamma_change": 3.0, "colour_cast": 1.0, "blur": 20.0, "sensor_noise": 255.0}

# What comes at some time of the training.
STAGES = ("warmup_steps", "attention_restart", "skip_from")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run besides the data folder. Raises ValueError on values that do not fit."""

    model: ModelConfig = field(default_factory=ModelConfig)
    dataset: str = "camvid"
    dev_group: str = ""  # groups of train, joined by commas, that the run is scored on instead of learning from them
    coding: str = ""  # how label files store the classes (docs/label-images.md); none: recognised
    streets_per_epoch: int = 0  # built-in scenes mixed into each pass over the data set
    streets_pool: int = 1200  # distinct scenes they are drawn from; kept in memory once drawn
    epochs: int = 100  # passes over the data set
    batch_size: int = 6
    crop_height: int = 240  # pixels
    crop_width: int = 320
    min_scale: float = 0.6
    max_scale: float = 1.6
    gamma_change: float = 0.0  # another camera, another light (`dnl.transforms.OtherCamera`): of the logarithm of γ,
    colour_cast: float = 0.0  # of each colour channel by itself,
    blur: float = 0.0  # largest standard deviation, in pixels
    sensor_noise: float = 0.0  # and in grey levels of 255
    loss_stride: int = 1  # pixels per loss cell; 2 quarters the cost of the full-size logits
    optimizer: str = "adamw"  # or sgd
    momentum: float = 0.9  # of SGD
    learning_rate: float = 2e-3  # peak, of the backbone
    head_rate: float = 1.0  # learning rate of all but the backbone, relative to it
    warmup_steps: int = 100
    poly_power: float = 0.9
    weight_decay: float = 0.01
    query_key_rate: float = 0.05  # learning rate of W_q, W_k and γ relative to the rest: unscaled scores run away
    query_key_decay: float = 0.1  # their weight decay
    logit_std: float = 2.0  # W_q and W_k start whitened, with this spread of scores; 0 leaves Kaiming's start
    attention_restart: int = 0  # epochs after which they start anew, on what has been learnt by then; 0: never
    skip_from: int = 0  # epochs without the stage-4 skip: the head first learns from the attention alone
    skip_rate: float = 1.0  # how fast the head learns to use that skip, relative to all else it learns
    gradient_clip: float = 10.0  # largest gradient norm; 0: no bound
    accumulation: int = 1  # parts in which a batch is computed, one after another
    freeze_norms: bool = False  # batch norms keep their statistics
    freeze_backbone_norms: bool = False  # those of the backbone keep the statistics that they start with
    learning_parts: str = ""  # parts that learn, separated by commas, while all others stay as they start; none: all
    frozen_stages: int = 0  # of the backbone, with the stem, that keep the weights that they start with
    largest_class_weight: float = 3.0  # bound of the class weights; 0 for equal weights
    auxiliary_weight: float = 0.4
    ohem_threshold: float = 1.0  # the main loss keeps pixels whose true class is less probable than this; 1: all
    lovasz_weight: float = 0.0  # of Lovász-softmax, a surrogate of the IoU, in the main loss; 0: cross-entropy alone
    lovasz_stride: int = 2  # loss cells per cell of it: it sorts, which costs more than it learns from a finer grid
    ohem_least: float = 0.0625  # share of each image's labelled pixels, the hardest, that it keeps in any case
    settling_batches: int = 60  # on which the averaged weights' batch norms are estimated anew; 0 keeps moving averages
    start_from: str = ""  # checkpoint whose weights the run starts with; none: from scratch
    fresh_parts: str = ""  # parts of the network that start anew all the same, separated by commas: context,fuse,head
    backbone_weights: str = ""  # ImageNet weights of the backbone, a file or address (dnl.checkpoints.backbones)
    ema_decay: float = 0.998  # of the averaged weights that are evaluated and saved; 0 takes the last ones
    precision: str = "auto"  # float32, bfloat16, float16 (GPU), or auto: the faster one of the first two, measured
    compile: bool = False  # torch.compile
    evaluate_every: int = 10  # epochs
    workers: int = 1  # processes that prepare batches
    keep_in_memory: bool = True  # the decoded data set; for small ones
    seed: int = 0

    @property
    def validation(self) -> str:
        """The split that a run is scored on."""
        return f"dev:{self.dev_group}" if self.dev_group else "val"

    def __post_init__(self):
        for entry in dataclasses.fields(self):
            if entry.name != "model":
                require_type(entry.name, getattr(self, entry.name), type(entry.default))
        if self.precision not in ("auto", "float32", "bfloat16", "float16"):
            raise ValueError(f"precision is {shortened(self.precision)}; choose auto, float32, bfloat16 or float16")
        if self.optimizer not in ("adamw", "sgd"):
            raise ValueError(f"optimizer is {shortened(self.optimizer)}; choose adamw or sgd")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} is {shortened(value)}; it must lie in {least} … {most:,}")
        for name, most in {"ohem_threshold": 1, "ohem_least": 1, **LOOK_RANGES}.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie in 0 … {most:g}")
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, float) and value < 0:
                raise ValueError(f"{entry.name} is {value}; it must not be negative")
        if self.start_from and self.backbone_weights:
            raise ValueError("start_from and backbone_weights both name weights to start with; give one of them")
        if not 0 <= self.skip_rate <= 1:
            raise ValueError(f"skip_rate is {self.skip_rate}; it must lie in 0 … 1")
        if not 0 < self.min_scale <= self.max_scale:
            raise ValueError(f"scales are {self.min_scale} … {self.max_scale}; they must be positive and in this order")


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
values. One run took weights of camvid_dnl_varied from 0.762 to 0.768 mean IoU on val, and from 0.648 to 0.654 on test:
those are the shipped camvid-dnl.
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


def override(config: TrainConfig, settings: list[str]) -> TrainConfig:
    """Apply `key=value` settings; a field of the model is `model.key`. Raises ValueError on unknown keys or values.

    With another number of epochs the STAGES that are not set themselves keep their share of the training.
    """
    given, keys = config, set()
    for setting in settings:
        key, separator, text = setting.partition("=")
        keys.add(key)
        if not separator:
            raise ValueError(f"the setting {shortened(setting)} has no '='; write key=value")
        if key.startswith("model."):
            changed = _replace(config.model, key.removeprefix("model."), text, prefix="model.")
            config = dataclasses.replace(config, model=changed)
        else:
            config = _replace(config, key, text, prefix="")
    scaled = with_epochs(given, config.epochs)
    return dataclasses.replace(config, **{name: getattr(scaled, name) for name in STAGES if name not in keys})


def with_epochs(config: TrainConfig, epochs: int) -> TrainConfig:
    """`config` for another number of epochs: warm-up, restart and the time without the skip keep their share."""
    if epochs == config.epochs:
        return config
    share = epochs / config.epochs
    # A restart comes after one epoch at least, for 0 means never; and both leave an epoch in which they tell.
    restart = max(1, round(config.attention_restart * share)) if config.attention_restart else 0
    return dataclasses.replace(
        config,
        epochs=epochs,
        warmup_steps=round(config.warmup_steps * share),
        attention_restart=min(restart, epochs - 1),
        skip_from=min(round(config.skip_from * share), epochs - 1),
    )


def stages_beyond(config: TrainConfig, total_steps: int) -> list[str]:
    """A sentence for each stage that a run of `config`, of `total_steps` updates, does not come to or does not end."""
    found = []
    if config.model.context != "fcn" and config.attention_restart >= config.epochs:
        found.append(
            f"attention_restart is {config.attention_restart} but the run has {config.epochs} epochs: "
            "query and key never start anew"
        )
    if config.skip_from >= config.epochs:
        found.append(
            f"skip_from is {config.skip_from} but the run has {config.epochs} epochs: the stage-4 skip never comes in"
        )
    if config.warmup_steps > (most := longest_warmup(total_steps)):
        found.append(f"warmup_steps is {config.warmup_steps} but the run has {total_steps} updates: it takes {most}")
    return found


def require_weights(config: TrainConfig, name: str) -> None:
    """Raise ValueError where the recipe `name` goes on with what another has learnt, or parts are to stay as they start
    or to start anew, and nothing has been learnt yet."""
    if name in GOES_ON and not config.start_from:
        raise ValueError(
            f"{name} goes on with what {GOES_ON[name]} has learnt; name its checkpoint with "
            "--set start_from=runs/NAME/model.safetensors"
        )
    if config.fresh_parts and not config.start_from:
        raise ValueError(
            f"fresh_parts is {config.fresh_parts!r} but everything starts anew without a checkpoint; name one with "
            "--set start_from=CHECKPOINT, or set fresh_parts= to nothing"
        )
    if config.learning_parts and not config.start_from:
        raise ValueError(
            f"learning_parts is {config.learning_parts!r} but the other parts have learnt nothing yet; name a "
            "checkpoint with --set start_from=CHECKPOINT, or let all learn with --set learning_parts="
        )
    kept = [name for name in ("frozen_stages", "freeze_backbone_norms") if getattr(config, name)]
    if kept and not (config.start_from or config.backbone_weights):
        raise ValueError(
            f"{' and '.join(kept)} would keep what nothing has learnt; name weights (backbone_weights=FILE or "
            "start_from=CHECKPOINT), or leave nothing frozen with frozen_stages=0 and freeze_backbone_norms=false"
        )


def part_names(setting: str) -> tuple[str, ...]:
    """The parts of the network that `fresh_parts` or `learning_parts` names."""
    return tuple(part.strip() for part in setting.split(",") if part.strip())


def require_learning(config: TrainConfig) -> None:
    """Raise ValueError where nothing is to learn, or parts start anew that are not to."""
    if not config.learning_parts:
        return
    learning = part_names(config.learning_parts)
    if not learning or (learning == ("backbone",) and config.frozen_stages == 4):
        raise ValueError(
            f"nothing would learn: learning_parts is {config.learning_parts!r} and frozen_stages {config.frozen_stages}"
        )
    if config.largest_class_weight and "head" not in learning:
        raise ValueError(
            f"largest_class_weight is {config.largest_class_weight:g}, which the head is to learn, but learning_parts, "
            f"{config.learning_parts!r}, leaves it out; add head there, or weigh all classes alike with --set "
            "largest_class_weight=0"
        )
    anew = dict.fromkeys(part_names(config.fresh_parts), "fresh_parts")
    if config.model.context != "fcn" and (config.logit_std or config.attention_restart):
        anew["context"] = "logit_std" if config.logit_std else "attention_restart"
    if config.skip_from:
        anew["head"] = "skip_from"
    for name, setting in anew.items():
        if name not in learning:
            raise ValueError(
                f"{setting} has {name} start anew, but it would never learn: learning_parts is "
                f"{config.learning_parts!r}; add {name} there, or let it be with --set "
                + ("fresh_parts=" if setting == "fresh_parts" else f"{setting}=0")
            )


def begun_anew(config: TrainConfig) -> list[str]:
    """A sentence for what does not stay as `start_from` has it without being among `fresh_parts`."""
    fresh = part_names(config.fresh_parts)
    found = []
    if config.start_from and config.model.context != "fcn" and "context" not in fresh:
        settings = [
            f"{name}={value}" for name in ("logit_std", "attention_restart") if (value := getattr(config, name))
        ]
        if settings:
            found.append(f"query and key start anew ({', '.join(settings)}); with 0 they stay as start_from has them")
    if config.start_from and config.skip_from and "head" not in fresh:
        found.append(
            f"the stage-4 skip is closed for {config.skip_from} epochs, and what the head made of it is lost; "
            "with skip_from=0 it stays as start_from has it"
        )
    return found


def longest_warmup(total_steps: int) -> int:
    """Updates after which the rate is at its peak at the latest: a third of the run."""
    return max(1, total_steps // 3)


def describe(name: str, config: TrainConfig) -> str:
    """The preset's note, and every value of `config` as `key=value`, with the preset's own where it was overridden."""
    preset = flat(recipe(name))
    paragraphs = [textwrap.fill(paragraph, 100) for paragraph in NOTES[name].strip().split("\n\n")]
    lines = [
        f"{key}={value}" + ("" if value == preset[key] else f"  (the preset has {preset[key]})")
        for key, value in flat(config).items()
    ]
    return "\n\n".join([f"recipe {name}", *paragraphs, "\n".join(lines)])


def flat(config: TrainConfig) -> dict:
    """Every setting under the name that `override` knows it by; the model's as `model.key`."""
    fields = dataclasses.asdict(config)
    model = {f"model.{key}": value for key, value in fields.pop("model").items()}
    return {**model, **fields}


def from_dict(fields: dict) -> TrainConfig:
    """The inverse of `dataclasses.asdict`; fields that are not there get their default. Raises ValueError on others."""
    model = fields.get("model", {})
    if not isinstance(model, dict):
        raise ValueError("its settings of the model are no object")
    for kind, given in ((ModelConfig, model), (TrainConfig, fields)):
        if unknown := set(given) - {field.name for field in dataclasses.fields(kind)}:
            names = one_line(", ".join(sorted(unknown)), 200)
            raise ValueError(f"there is no setting {names} in this version; use the one it was written by")
    return TrainConfig(**{**fields, "model": ModelConfig(**model)})


def _replace(config, key, text, prefix):
    types = typing.get_type_hints(type(config))
    if key not in types or key == "model":
        raise ValueError(f"there is no setting {(prefix + key)[:60]}; --print shows those there are")
    try:
        value = _parse(text, types[key])
    except ValueError as error:
        raise ValueError(f"{prefix}{key} is {shortened(text)}; it must be of type {types[key].__name__}") from error
    return dataclasses.replace(config, **{key: value})


def _parse(text, kind):
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    return kind(text)
