"""What a checkpoint is worth: measured, judged, shown."""

from analysis.card.health import COST_WORDS, Health, attention_health
from analysis.card.opening import open_checkpoint
from analysis.card.view import CardView, overview_row, read_ablation, read_log, training_logs, view_card

__all__ = [
    "COST_WORDS",
    "CardView",
    "Health",
    "attention_health",
    "open_checkpoint",
    "overview_row",
    "read_ablation",
    "read_log",
    "training_logs",
    "view_card",
]
