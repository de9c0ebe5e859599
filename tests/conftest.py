"""Without a GPU, Triton's interpreter stands in for it."""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported, which any library may do
