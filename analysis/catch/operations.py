"""Names of PyTorch's operations, by what they do to the entries of their operands."""

from collections.abc import Callable

from torch import Tensor

# fmt: off
# They move entries about, or repeat or leave out some.
MOVES = frozenset({
    "view", "reshape", "permute", "transpose", "t", "swapaxes", "swapdims", "movedim", "moveaxis", "flatten",
    "unflatten", "ravel", "squeeze", "unsqueeze", "expand", "broadcast_to", "repeat", "repeat_interleave", "tile",
    "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "select", "narrow", "unfold", "cat", "concat",
    "concatenate", "stack", "hstack", "vstack", "roll", "flip", "rot90", "pad", "gather", "take_along_dim",
    "index_select", "__getitem__", "masked_select", "pixel_shuffle", "pixel_unshuffle", "__get__",
})
# Likewise, to the shape of a second tensor: what they do, with that shape.
AS_ANOTHER: dict[str, Callable] = {"view_as": Tensor.reshape, "reshape_as": Tensor.reshape, "expand_as": Tensor.expand}
# They make a tensor like another one, not out of it.
CONSTANTS = frozenset({
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "new_zeros", "new_ones",
    "new_full", "new_empty", "new_tensor", "bernoulli",
})
# They make an input of their own.
RANDOM = frozenset({"rand", "randn", "normal"})
# They put images into a batch.
BATCHINGS = frozenset({"stack", "unsqueeze", "__getitem__"})
# They leave the value of each entry as it is, but for its precision.
COPIES = frozenset({
    "contiguous", "clone", "detach", "to", "float", "half", "bfloat16", "double", "type", "type_as", "cpu", "cuda",
    "alias", "requires_grad_",
})
# They take one entry, or make one, of all along an axis.
REDUCTIONS = frozenset({"max", "amax", "min", "amin", "mean", "sum"})
# They put entries in an order that depends on their values.
ORDERINGS = frozenset({"sort", "argsort", "topk", "msort", "argmax", "argmin"})
CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
# They make a map of another size. (PyTorch calls max pooling's Python functions boolean_dispatch and fn.)
POOLINGS = frozenset({
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "boolean_dispatch", "fn", "interpolate", "grid_sample", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
})
MULTIPLICATIONS = frozenset({"mul", "multiply", "__mul__", "__rmul__", "__imul__", "mul_"})
DIVISIONS = frozenset({"div", "divide", "true_divide", "__truediv__", "__itruediv__", "div_"})
SOFTMAXES = frozenset({"softmax", "special_softmax", "_softmax", "gumbel_softmax"})
# Products of two matrices.
MATRIX_PRODUCTS = frozenset({"matmul", "__matmul__", "bmm", "mm"})
# They multiply the second and third argument, and add the first.
ADDED_PRODUCTS = frozenset({"baddbmm", "addmm", "addbmm"})
PRODUCTS = MATRIX_PRODUCTS | ADDED_PRODUCTS | {"__rmatmul__", "einsum"}
# They take the neighbourhood of each cell.
NEIGHBOURHOODS = frozenset({"unfold", "im2col"})
# They ask something of a tensor and make none.
SILENT = frozenset({
    "size", "dim", "numel", "stride", "is_floating_point", "is_contiguous", "storage_offset", "__len__", "item",
})
# fmt: on
