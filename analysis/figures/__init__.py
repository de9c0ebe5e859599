"""Figures for a paper, and the recipes that make them again."""

from analysis.figures.command import (
    FORMATS,
    FigureImage,
    FigureModel,
    OtherFileError,
    attention_figure,
    camvid_image,
    caption_text,
    figure_file,
    file_image,
    main,
    map_sentences,
    open_captures,
    print_figure,
    recipe_figure,
    require_street,
)

__all__ = [
    "FORMATS",
    "FigureImage",
    "FigureModel",
    "OtherFileError",
    "attention_figure",
    "camvid_image",
    "caption_text",
    "figure_file",
    "file_image",
    "main",
    "map_sentences",
    "open_captures",
    "print_figure",
    "recipe_figure",
    "require_street",
]
