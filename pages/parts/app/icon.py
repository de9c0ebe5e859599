"""The tab's icon, drawn here because Streamlit fetches named icons from the network: a spot of attention."""

import matplotlib
import numpy as np
import pandas  # noqa: F401  Plotly uses pandas where it is imported, even if another session is still importing it
from PIL import Image


def tab_icon() -> Image.Image:
    """64×64 pixels."""
    across = np.linspace(-1, 1, 64)
    spot = np.exp(-4 * (across[:, None] ** 2 + across[None, :] ** 2))
    return Image.fromarray(matplotlib.colormaps["inferno"](spot, bytes=True))
