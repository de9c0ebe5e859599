"""What a checkpoint is worth: measured, judged, shown."""
