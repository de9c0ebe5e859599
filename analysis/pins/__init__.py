"""Pinned pixels, measured and kept as files."""
