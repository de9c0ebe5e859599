"""Text in pictures, and figures as files for print: the one place where names meet fonts, and figures a file."""

from analysis.printing.files import (
    FORMATS,
    RESOLUTIONS,
    PrintedFigure,
    print_figure,
    print_settings,
    save_figure,
)
from analysis.printing.text import Font, Names, letter, picture_names

__all__ = [
    "FORMATS",
    "RESOLUTIONS",
    "Font",
    "Names",
    "PrintedFigure",
    "letter",
    "picture_names",
    "print_figure",
    "print_settings",
    "save_figure",
]
