"""Parts of the Figures page."""
