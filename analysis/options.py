"""What can be chosen of a map: its stages and controls, the gate, and how GR, LR and the softmax are computed."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from dnl import attention

Stage = Literal["raw", "rectified", "retained"]
STAGES: tuple[Stage, ...] = get_args(Stage)

# uniform: uniform attention. oracle: retained under the oracle gate (true labels instead of predictions). box:
# retained with a constant box in place of LR's weights, under the same gate.
CONTROLS = ("uniform", "oracle", "box")

# What the model can do, and the oracle: true labels in place of the class prediction, the best that any GR could do.
GATES = (*attention.GATES, "oracle")

# At which percentile of their maps' values colour scales end, unless asked otherwise; above it all have one colour.
CLIP_PERCENTILE = 99.5

# The LR window applied after the fact to a model that has none.
DEFAULT_LR_KERNEL = 3


class Owner(Protocol):
    """What has options of its own: a capture has those of its model."""

    @property
    def gate(self) -> str | None: ...

    @property
    def lr_kernel(self) -> int | None: ...

    @property
    def lr_weights(self) -> str: ...


@dataclass(frozen=True)
class MapOptions:
    """How the maps of a capture are computed.

    gate: "model" (the capture's own), one of GATES, or None for no GR. lr_kernel: "model", an odd number of cells, or
    None for no LR. lr_weights: "model", "learnt" or "box". temperature divides the softmax's scores; 1 is the method.
    """

    gate: str | None = "model"
    lr_kernel: int | str | None = "model"
    lr_weights: str = "model"
    temperature: float = 1.0

    def of(self, owner: Owner) -> "MapOptions":
        """These options with every "model" replaced by what the owner, a capture, has."""
        return MapOptions(
            gate=owner.gate if self.gate == "model" else self.gate,
            lr_kernel=owner.lr_kernel if self.lr_kernel == "model" else self.lr_kernel,
            lr_weights=owner.lr_weights if self.lr_weights == "model" else self.lr_weights,
            temperature=self.temperature,
        )

    def as_dict(self) -> dict[str, Any]:
        """These four alone, by name: keyword arguments of `analysis.maps.attention_rows`."""
        return {name: getattr(self, name) for name in OPTION_NAMES}


OPTION_NAMES = tuple(field.name for field in dataclasses.fields(MapOptions))


def stages_there(options: MapOptions) -> tuple[Stage, ...]:
    """The stages that there are under options with every "model" replaced: rectified with GR, retained with LR."""
    return own_stages(
        ["raw", *["rectified"] * (options.gate is not None), *["retained"] * (options.lr_kernel is not None)]
    )


def own_stages(names: Iterable[str]) -> tuple[Stage, ...]:
    """Those of STAGES that are among `names`, in their own order."""
    there = set(names)
    return tuple(stage for stage in STAGES if stage in there)


def option_cells(options: Mapping[str, Any]) -> dict[str, Any]:
    """OPTION_NAMES in a row of a table: "none" stands for no GR and no LR.

    options: `MapOptions.as_dict`, with every "model" replaced.
    """
    return {
        "gate": options["gate"] or "none",
        "lr_kernel": options["lr_kernel"] or "none",
        "lr_weights": options["lr_weights"] if options["lr_kernel"] else "none",
        "temperature": options["temperature"],
    }
