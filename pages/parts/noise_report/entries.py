"""The Noise report's entries of the session that the page, its parts and its links share."""

# The sidebar's choices; those of one image alone are the ones of `subjects.pictures`.
MODELS, COUNT, SOURCE, SCENES, SPLIT = "noise models", "noise count", "noise source", "noise scenes", "noise split"
CODING = "noise coding"
# Whose attention it is, and the choices of the report on heads.
KIND, EXAMPLE_SCENES, HEADS_STAGE, HEADS_LAYER = "noise kind", "noise example", "noise heads stage", "noise heads layer"
LABELS, GATE, RETENTION = "noise labels", "noise gate", "noise retention"
# The sections' choices.
SHOWN_STAGES, DETAIL = "noise stages", "noise detail"
CLASS_METRIC, LEAKAGE_STAGE, SPLIT_METRIC = "noise class metric", "noise leakage stage", "noise split metric"
MAP_STAGE, MAP_METRIC = "noise map stage", "noise map metric"


def files_of(split: str) -> str:
    """The entry of the files that are chosen of a split."""
    return f"noise files {split}"
