"""Predictions as files: photos or a data set's split in, label images, colours, overlays and probabilities out."""

from dnl.predict.folder import FolderError, PredictionFolder
from dnl.predict.label_files import LABEL_FORMATS, LabelFormat, label_format
from dnl.predict.photos import Photos
from dnl.predict.pictures import Pictures, prediction_files
from dnl.predict.work import Outcome, predict_images

__all__ = [
    "LABEL_FORMATS",
    "FolderError",
    "LabelFormat",
    "Outcome",
    "Photos",
    "Pictures",
    "PredictionFolder",
    "label_format",
    "predict_images",
    "prediction_files",
]
