"""Pictures one after another as an MP4 video, by the machine's ffmpeg (https://ffmpeg.org), which is asked for."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.figures.reading import RecipeError

WANTED = "an MP4 takes the program ffmpeg, which is not found here; install it (on Debian: apt install ffmpeg)"
# H.264 with half the colours' resolution, which every browser and slide program plays; near lossless for maps.
ENCODING = ("-c:v", "libx264", "-preset", "medium", "-crf", "16", "-pix_fmt", "yuv420p", "-movflags", "+faststart")


def has_ffmpeg() -> bool:
    """Whether MP4 can be written here."""
    return shutil.which("ffmpeg") is not None


def mp4_file(pictures: Sequence[Image.Image], frame_seconds: float, note: str) -> bytes:
    """Pictures of one size as a video; note: the file's comment. Raises RecipeError without ffmpeg, or if it fails.

    Sides of an odd number of dots get one more, a repeated one: H.264 takes even ones.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise RecipeError(WANTED)
    width, height = (side + side % 2 for side in pictures[0].size)
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", f"{1 / frame_seconds:.6f}")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "motion.mp4"
        written = ("-an", *ENCODING, "-metadata", f"comment={note}", str(out))
        command = [program, "-v", "error", "-y", *raw, "-i", "-", *written]
        frames = b"".join(_even(picture).tobytes() for picture in pictures)
        done = subprocess.run(command, input=frames, capture_output=True, check=False)
        if done.returncode or not out.is_file():
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
            raise RecipeError(f"ffmpeg could not write the video: {said[-1]}")
        return out.read_bytes()


def _even(picture: Image.Image) -> np.ndarray:
    """H×W×3 with even sides."""
    dots = np.asarray(picture.convert("RGB"))
    return np.pad(dots, ((0, dots.shape[0] % 2), (0, dots.shape[1] % 2), (0, 0)), mode="edge")
