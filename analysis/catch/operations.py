"""Names of PyTorch's operations, by what they do to the entries of their operands."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

# fmt: off
# They move entries about, or repeat or leave out some.
MOVES = frozenset({
    "view", "reshape", "permute", "transpose", "t", "swapaxes", "swapdims", "movedim", "moveaxis", "flatten",
    "unflatten", "ravel", "squeeze", "unsqueeze", "expand", "broadcast_to", "repeat", "repeat_interleave", "tile",
    "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "select", "narrow", "unfold", "cat", "concat",
    "concatenate", "stack", "hstack", "vstack", "roll", "flip", "rot90", "pad", "gather", "take_along_dim",
    "index_select", "__getitem__", "masked_select", "pixel_shuffle", "pixel_unshuffle", "__get__", "flipud", "fliplr",
    "take", "channel_shuffle", "slice", "_unsafe_view", "_reshape_alias",
})
# Those among them that leave the order and the number of entries as they are, or take parts along whole axes.
RESHAPINGS = frozenset({
    "view", "reshape", "permute", "transpose", "t", "swapaxes", "swapdims", "movedim", "moveaxis", "flatten",
    "unflatten", "ravel", "squeeze", "unsqueeze", "expand", "broadcast_to", "chunk", "split", "split_with_sizes",
    "tensor_split", "unbind", "select", "narrow", "view_as", "reshape_as", "expand_as", "__get__", "_unsafe_view",
    "_reshape_alias", "slice",
})
# They put entries of a second tensor into the first. In place or not: a chain is run again on copies.
INSERTIONS = frozenset({"scatter", "index_copy", "index_put", "masked_scatter", "slice_scatter", "select_scatter"})
# Likewise, to the shape of a second tensor: what they do, with that shape.
AS_ANOTHER: dict[str, Callable] = {"view_as": Tensor.reshape, "reshape_as": Tensor.reshape, "expand_as": Tensor.expand}
# Two real numbers become one complex, and the other way round: what they do to numbers that are the same for both.
AS_OTHERS: dict[str, Callable] = {
    "view_as_complex": lambda numbers: numbers[..., 0],
    "view_as_real": lambda numbers: numbers[..., None].expand(*numbers.shape, 2),
}
# They make a tensor like another one, not out of it.
CONSTANTS = frozenset({
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "new_zeros", "new_ones",
    "new_full", "new_empty", "new_tensor", "bernoulli", "zero_", "fill_",
})
# They make an input of their own.
RANDOM = frozenset({"rand", "randn", "normal"})
# They put images into a batch.
BATCHINGS = frozenset({"stack", "unsqueeze", "__getitem__"})
# They leave the value of each entry as it is, but for its precision.
COPIES = frozenset({
    "contiguous", "clone", "detach", "to", "float", "half", "bfloat16", "double", "type", "type_as", "cpu", "cuda",
    "alias", "requires_grad_", "_to_copy", "lift_fresh_copy",
})
# Entry by entry, or each from the channels of its own cell: where an entry lies stays as it was. PyTorch itself tells
# of most such operations: `is_entrywise`.
ENTRYWISE = COPIES | {
    "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "alpha_dropout", "feature_alpha_dropout",
    "native_dropout", "layer_norm", "batch_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm",
    "normalize", "renorm", "hardswish", "logsigmoid", "softsign", "tanhshrink", "prelu", "floor_divide", "index_fill",
    "tril", "triu", "cumsum", "cumprod", "cummax", "logcumsumexp", "log_softmax", "real", "imag", "conj",
    "resolve_conj", "polar", "scatter", "threshold", "rrelu",
    "fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine", "fused_moving_avg_obs_fake_quant",
}
DROPOUTS = frozenset({"dropout", "feature_dropout", "alpha_dropout"})
# They write over what was there before.
WRITINGS = frozenset({"copy_", "scatter_", "index_copy_", "index_put_", "masked_scatter_"})
# They give a way to a tensor's memory that PyTorch does not watch.
MEMORY = frozenset({"data", "__set__", "set_", "numpy", "__array__", "__dlpack__", "untyped_storage", "data_ptr"})
# They take one entry, or make one, of all along an axis.
REDUCTIONS = frozenset({"max", "amax", "min", "amin", "mean", "sum"})
# They put entries in an order that depends on their values.
ORDERINGS = frozenset({"sort", "argsort", "topk", "msort", "argmax", "argmin"})
CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
# They make a map of another size. (PyTorch calls max pooling's Python functions boolean_dispatch and fn.)
POOLINGS = frozenset({
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "boolean_dispatch", "fn", "interpolate", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "max_unpool1d", "max_unpool2d", "max_unpool3d", "fold", "col2im",
})
# They make a map or sequence of its frequencies: along how many of the last axes if no others are named.
TRANSFORMS_BACK: dict[str, int | None] = {
    "fft_ifft": 1, "fft_irfft": 1, "fft_ifft2": 2, "fft_irfft2": 2, "fft_ifftn": None, "fft_irfftn": None,
}
# Their second argument, or kernel_size, is how many cells one is made of.
KERNELS = frozenset({
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d", "boolean_dispatch", "fn",
})
MULTIPLICATIONS = frozenset({"mul", "multiply", "__mul__", "__rmul__", "__imul__", "mul_"})
DIVISIONS = frozenset({"div", "divide", "true_divide", "__truediv__", "__itruediv__", "div_"})
SOFTMAXES = frozenset({"softmax", "special_softmax", "_softmax", "gumbel_softmax", "softmin"})
# Products of two matrices.
MATRIX_PRODUCTS = frozenset({"matmul", "__matmul__", "bmm", "mm", "mv", "linalg_matmul"})
# They multiply the second and third argument, and add the first.
ADDED_PRODUCTS = frozenset({"baddbmm", "addmm", "addbmm"})
PRODUCTS = MATRIX_PRODUCTS | ADDED_PRODUCTS | {"__rmatmul__", "einsum", "inner", "tensordot"}
# They take the neighbourhood of each cell.
NEIGHBOURHOODS = frozenset({"unfold", "im2col"})
# They read a map at places between its cells.
SAMPLINGS = frozenset({"grid_sample", "grid_sampler", "grid_sampler_2d"})
# They ask something of a tensor and make none.
SILENT = frozenset({
    "size", "dim", "numel", "stride", "is_floating_point", "is_contiguous", "storage_offset", "__len__", "item",
})
# fmt: on


@cache
def is_entrywise(name: str) -> bool:
    """Whether an operation gives each entry from the same entry of its operands alone, or from the channels of the cell
    that it lies in."""
    plain = name.strip("_")  # __iadd__ and add_ are add
    return any(own in ENTRYWISE or _is_tagged(own) for own in (plain, plain[1:] if name.startswith("__") else plain))


@cache
def makes_other_numbers(name: str) -> bool:
    """Whether an operation makes entries of several others in a way that is not known here."""
    known = MOVES | INSERTIONS | WRITINGS | ORDERINGS | REDUCTIONS | {"__setitem__", "split", *AS_ANOTHER, *AS_OTHERS}
    return not (is_entrywise(name) or name in known or name.strip("_") in known)


def is_readable(tensor: Tensor) -> bool:
    """Whether real numbers can be read from it: those of the meta device are nowhere, those inside torch.vmap are of
    many examples at once."""
    return not (tensor.is_meta or tensor.is_complex() or torch._C._functorch.is_batchedtensor(tensor))


def _is_tagged(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    return packet is not None and any(
        torch.Tag.pointwise in getattr(packet, overload).tags for overload in packet.overloads()
    )
