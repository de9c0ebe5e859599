#!/usr/bin/env bash
# Expected: what nn.MultiheadAttention gives a query whose mask leaves it no key (a cell outside every mask, a window of
# padding alone) does not hang on whether the weights are asked for, nor on whether gradients are kept: NaN as softmax
# of nothing but -inf, or, since scaled_dot_product_attention knows such rows, 0.
# What happens: both, by turns. The weights are asked for: NaN. They are not, while gradients are kept or in training:
# zeros (and the output's bias). In evaluation under no_grad, with a boolean mask and one and the same tensor as query,
# key and value: NaN; with the same mask in floats, or in cross attention: zeros. So the one more call that shows its
# attention turns a layer's output into NaN, and a TransformerEncoder that trains without a NaN gives nothing else in
# evaluation under no_grad: the second layer spreads it from that token to all.
# seen: torch 2.13.0, a query without keys   no weights asked   weights asked
# seen: MultiheadAttention, training         0                  NaN
# seen: MultiheadAttention, eval             0                  NaN
# seen: MultiheadAttention, eval, no_grad    NaN                NaN
# seen: the same, mask of floats             0                  NaN
# seen: the same, keys of another tensor     0                  NaN
# seen: TransformerEncoder, training         NaN in 0 of 4 tokens
# seen: TransformerEncoder, eval             NaN in 0 of 4 tokens
# seen: TransformerEncoder, eval, no_grad    NaN in 4 of 4 tokens
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import torch
from torch import nn

CHANNELS, TOKENS, EMPTY = 16, 4, 1
torch.manual_seed(0)
tokens, others = torch.randn(2, 1, TOKENS, CHANNELS)
hidden = torch.zeros(TOKENS, TOKENS, dtype=torch.bool)  # True: may not be attended to
hidden[EMPTY] = True
of_floats = torch.zeros(TOKENS, TOKENS).masked_fill(hidden, float("-inf"))
attention = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)
layer = nn.TransformerEncoderLayer(CHANNELS, 2, 2 * CHANNELS, dropout=0.0, batch_first=True)
encoder = nn.TransformerEncoder(layer, 2)


def kind(output):
    row, rest = output[0, EMPTY], output[0, torch.arange(TOKENS) != EMPTY]
    assert rest.isfinite().all()
    return "NaN" if row.isnan().all() else "0" if (row == 0).all() else "?"


def of_attention(keys, mask):
    ways = (attention(tokens, keys, keys, attn_mask=mask, need_weights=needed)[0] for needed in (False, True))
    return [kind(output) for output in ways]


def of_encoder():
    bad = int(encoder(tokens, mask=hidden)[0].isnan().any(dim=-1).sum())
    return [f"NaN in {bad} of {TOKENS} tokens"]


print(f"torch {torch.__version__.partition('+')[0]}, a query without keys   no weights asked   weights asked")
found = {}
for module, name, run in (
    (attention, "MultiheadAttention", lambda: of_attention(tokens, hidden)),
    (encoder, "TransformerEncoder", of_encoder),
):
    found[f"{name}, training"] = module.train() and run()
    found[f"{name}, eval"] = module.eval() and run()
    with torch.no_grad():
        found[f"{name}, eval, no_grad"] = run()
        if module is attention:
            found["the same, mask of floats"] = of_attention(tokens, of_floats)
            found["the same, keys of another tensor"] = of_attention(others, hidden)
for name, kinds in found.items():
    print(f"{name:<36} " + "".join(f"{one:<19}" for one in kinds).rstrip())
assert list(found.values()) == [
    ["0", "NaN"],
    ["0", "NaN"],
    ["NaN", "NaN"],
    ["0", "NaN"],
    ["0", "NaN"],
    ["NaN in 0 of 4 tokens"],
    ["NaN in 0 of 4 tokens"],
    ["NaN in 4 of 4 tokens"],
]
PYTHON
