"""Everything that decides a training run: typed values in their ranges, written and read, overridden by key=value."""

import dataclasses
import typing
from dataclasses import dataclass, field

from dnl.network import ModelConfig
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
    groups_alike: bool = False  # each pass has as many images of one drive, city or folder as of another
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
    paste_rate: float = 0.0  # share of crops over which what is small in another photo is laid (dnl.transforms.paste)
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
        for name, most in {"ohem_threshold": 1, "ohem_least": 1, "paste_rate": 1, **LOOK_RANGES}.items():
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


def part_names(setting: str) -> tuple[str, ...]:
    """The parts of the network that `fresh_parts` or `learning_parts` names."""
    return tuple(part.strip() for part in setting.split(",") if part.strip())


def longest_warmup(total_steps: int) -> int:
    """Updates after which the rate is at its peak at the latest: a third of the run."""
    return max(1, total_steps // 3)


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
