"""Parts of the Noise report."""
