import itertools

import numpy as np

from analysis.lens import PIN_COLOURS, PIN_LIMIT

# Linear RGB as seen with a severe deficiency: Machado, Oliveira, Fernandes, "A Physiologically-based Model for
# Simulation of Color Vision Deficiency", IEEE TVCG 2009, severity 1.
DEFICIENCIES = {
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}


def test_pin_colours_can_be_told_apart_by_colour_blind_readers():
    """The least distance of two pins' colours in CIELAB, as seen with full colour vision and with each deficiency."""
    colours = np.array([[int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)] for colour in PIN_COLOURS])
    assert len(PIN_COLOURS) == PIN_LIMIT
    for name, matrix in DEFICIENCIES.items():
        lab = _lab(_linear(colours) @ np.array(matrix).T)
        distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)]
        assert min(distances) > 15, name


def _linear(colours: np.ndarray) -> np.ndarray:
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def _lab(linear: np.ndarray) -> np.ndarray:
    """Linear sRGB to CIELAB under D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = (linear.clip(0, 1) @ np.array(to_xyz).T / [0.9505, 1, 1.089]).T
    x, y, z = (np.where(v > 0.008856, np.cbrt(v), 7.787 * v + 16 / 116) for v in (x, y, z))
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
