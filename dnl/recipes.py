"""Training recipes: typed, named presets, every value of which can be overridden on the command line."""

import dataclasses
import typing
from dataclasses import dataclass, field

from dnl.config import ModelConfig


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run besides the data folder. Raises ValueError on values that do not fit."""

    model: ModelConfig = field(default_factory=ModelConfig)
    dataset: str = "camvid"
    streets_per_epoch: int = 0  # built-in scenes mixed into each pass over the data set
    streets_pool: int = 1200  # distinct scenes they are drawn from; kept in memory once drawn
    epochs: int = 100  # passes over the data set
    batch_size: int = 6
    crop_height: int = 240  # pixels
    crop_width: int = 320
    min_scale: float = 0.6
    max_scale: float = 1.6
    loss_stride: int = 1  # pixels per loss cell; 2 quarters the cost of the full-size logits
    optimizer: str = "adamw"  # or sgd
    momentum: float = 0.9  # of SGD
    learning_rate: float = 2e-3  # peak, of the backbone
    head_rate: float = 1.0  # learning rate of all but the backbone, relative to it
    warmup_steps: int = 100
    poly_power: float = 0.9
    weight_decay: float = 0.01
    query_key_rate: float = 0.05  # learning rate of W_q and W_k relative to the rest: unscaled scores run away easily
    query_key_decay: float = 0.1  # their weight decay
    logit_std: float = 2.0  # W_q and W_k start whitened, with this spread of scores; 0 leaves Kaiming's start
    attention_restart: int = 0  # epochs after which they start anew, on what has been learnt by then; 0: never
    gradient_clip: float = 10.0  # largest gradient norm
    accumulation: int = 1  # parts in which a batch is computed, one after another
    freeze_norms: bool = False  # batch norms keep their statistics
    largest_class_weight: float = 3.0  # bound of the class weights; 0 for equal weights
    auxiliary_weight: float = 0.4
    ema_decay: float = 0.998  # of the averaged weights that are evaluated and saved; 0 takes the last ones
    precision: str = "auto"  # float32, bfloat16, float16 (GPU), or auto: bfloat16 where the device computes in it
    compile: bool = False  # torch.compile
    evaluate_every: int = 10  # epochs
    workers: int = 1  # processes that prepare batches
    keep_in_memory: bool = True  # the decoded data set; for small ones
    seed: int = 0

    def __post_init__(self):
        if self.precision not in ("auto", "float32", "bfloat16", "float16"):
            raise ValueError(f"precision is {self.precision!r}; choose auto, float32, bfloat16 or float16")
        if self.optimizer not in ("adamw", "sgd"):
            raise ValueError(f"optimizer is {self.optimizer!r}; choose adamw or sgd")
        for name in ("epochs", "batch_size", "loss_stride", "evaluate_every", "accumulation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("crop_height", "crop_width"):
            if getattr(self, name) < 32:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 32 pixels")
        for name in (
            "streets_per_epoch",
            "warmup_steps",
            "workers",
            "seed",
            "logit_std",
            "attention_restart",
            "ema_decay",
            "largest_class_weight",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if not 0 < self.min_scale <= self.max_scale:
            raise ValueError(f"scales are {self.min_scale} … {self.max_scale}; they must be positive and in this order")


# From scratch on a CPU. What keeps the attention alive: query and key projections that start whitened, learn slowly
# and decay, γ well above 0, and dropout on the skip that could carry the result without the attention.
_CAMVID = TrainConfig(
    model=ModelConfig(
        backbone="resnet18",
        width=32,
        num_classes=11,
        attention_stride=8,
        gamma_init=0.5,
        skip_dropout=0.4,
    ),
    dataset="camvid",
    streets_per_epoch=123,  # a quarter of what is seen
    epochs=48,
    attention_restart=26,
    loss_stride=2,
)

RECIPES = {
    "camvid_dnl": _CAMVID,
    "camvid_nl": dataclasses.replace(_CAMVID, model=dataclasses.replace(_CAMVID.model, context="nl")),
    "camvid_fcn": dataclasses.replace(_CAMVID, model=dataclasses.replace(_CAMVID.model, context="fcn")),
}


def recipe(name: str) -> TrainConfig:
    """The recipe of that name; raises ValueError naming those there are."""
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def override(config: TrainConfig, settings: list[str]) -> TrainConfig:
    """Apply `key=value` settings; a field of the model is `model.key`. Raises ValueError on unknown keys or values."""
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise ValueError(f"the setting {setting!r} has no '='; write key=value")
        if key.startswith("model."):
            changed = _replace(config.model, key.removeprefix("model."), text, prefix="model.")
            config = dataclasses.replace(config, model=changed)
        else:
            config = _replace(config, key, text, prefix="")
    return config


def from_dict(fields: dict) -> TrainConfig:
    """The inverse of `dataclasses.asdict`; raises TypeError or ValueError when the fields do not fit."""
    return TrainConfig(**{**fields, "model": ModelConfig(**fields["model"])})


def _replace(config, key, text, prefix):
    types = typing.get_type_hints(type(config))
    if key not in types or key == "model":
        names = ", ".join(prefix + name for name in types if name != "model")
        raise ValueError(f"there is no setting {prefix}{key}; there are {names}")
    try:
        value = _parse(text, types[key])
    except ValueError as error:
        raise ValueError(f"{prefix}{key} is {text!r}; it must be of type {types[key].__name__}") from error
    return dataclasses.replace(config, **{key: value})


def _parse(text, kind):
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    return kind(text)
