"""The keys of layers in state dicts, with their shapes."""


def conv(name, out_channels, in_channels, side=3):
    return {f"{name}.weight": (out_channels, in_channels, side, side)}


def norm(name, channels):
    vectors = dict.fromkeys(
        (f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")), (channels,)
    )
    return {**vectors, f"{name}.num_batches_tracked": ()}


def conv_norm(name, out_channels, in_channels):
    return {**conv(f"{name}.0", out_channels, in_channels), **norm(f"{name}.1", out_channels)}


def head(name, channels, in_channels, classes):
    last = {**conv(f"{name}.conv.4", classes, channels, 1), f"{name}.conv.4.bias": (classes,)}
    return {**conv_norm(f"{name}.conv", channels, in_channels), **last}
