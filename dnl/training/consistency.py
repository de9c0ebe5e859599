"""What of a configuration does not fit together, or is lost of what a run starts from: said before the first update."""

from dnl.training.config import TrainConfig, longest_warmup, part_names
from dnl.training.recipes import GOES_ON


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
