"""Parts of the Explorer."""
