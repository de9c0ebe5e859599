"""What a checkpoint is worth: measured, judged, shown."""

from analysis.card.health import Health, attention_health
from analysis.card.opening import open_checkpoint
from analysis.card.view import CardView, overview_row, read_ablation, read_log, training_logs, view_card, worth_of

__all__ = [
    "CardView",
    "Health",
    "attention_health",
    "open_checkpoint",
    "overview_row",
    "read_ablation",
    "read_log",
    "training_logs",
    "view_card",
    "worth_of",
]
