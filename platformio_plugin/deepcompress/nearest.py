"""What to write in the place of an operator that is not supported: the nearest thing that is."""

from __future__ import annotations

from deepcompress.decompose import decomposed
from deepcompress.errors import did_you_mean
from deepcompress.ops import BY_ATEN

_IN_THE_SKETCH = "Do it in the firmware, before or behind the network"
_COMPARE = "Clamp instead (relu, clamp, hardtanh), or multiply by a sigmoid"
_PICK = "Take slices at fixed places (x[:, 2:5]), or multiply by a Linear's constant matrix"
_FRAMES = "Put the frames side by side as channels, and use the layer of two dimensions"
_NORMALIZE = "Use BatchNorm, which costs nothing, or LayerNorm over the last axes"
_SPECTRUM = "Compute the spectrum in the firmware, or write it as a Conv1d with fixed weights"

# By the names of aten calls.
_INSTEAD = {
    **dict.fromkeys(("conv3d", "max_pool3d", "avg_pool3d", "adaptive_avg_pool3d"), _FRAMES),
    **dict.fromkeys(("native_group_norm", "local_response_norm", "norm"), _NORMALIZE),
    **dict.fromkeys(("argmax", "argmin", "topk", "sort", "argsort"), _IN_THE_SKETCH),
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq", "ne", "where", "masked_fill"), _COMPARE),
    **dict.fromkeys(("logical_and", "logical_or", "logical_not"), _COMPARE),
    **dict.fromkeys(("index", "index_select", "gather", "scatter", "nonzero"), _PICK),
    **dict.fromkeys(("flip", "embedding", "one_hot", "masked_select", "index_put"), _PICK),
    **dict.fromkeys(("stft", "fft_rfft", "fft_fft", "_fft_r2c"), _SPECTRUM),
    **dict.fromkeys(("max", "min"), "Name the axes, as x.amax((1, 2)), and not the batch's"),
    "var_mean": "Call x.var() and x.mean()",
    **dict.fromkeys(
        ("bmm", "einsum", "baddbmm"), "Use Linear with a stored matrix, or sums of x * y"
    ),
    "scaled_dot_product_attention": "Use a GRU, or convolutions along the sequence",
    "multi_head_attention_forward": "Use a GRU, or convolutions along the sequence",
    "rnn_tanh": "Use nn.GRU or nn.LSTM",
    "rnn_relu": "Use nn.GRU or nn.LSTM",
    "upsample_bicubic2d": "Use nn.Upsample with mode='bilinear' or 'nearest'",
    "grid_sampler_2d": "Use nn.Upsample with mode='bilinear' or 'nearest'",
    "cumsum": "Use a GRU, or a Linear whose fixed weights are a triangle of ones",
    "cumprod": "Use a GRU, or sum logarithms",
    "im2col": "Use nn.Conv2d with fixed weights, or slices and torch.cat",
    "cond": "Compute both ways and add them up, weighted, or decide in the firmware",
    "while_loop": "Write the steps one behind the other, as many as there always are",
    "randn_like": "Feed the noise as an input of the network",
    "fused_moving_avg_obs_fake_quant": "Convert the model (convert_pt2e) before it is exported",
}


def instead_of(aten: str) -> str:
    """What to do where an aten operator is not supported, as a sentence without its full stop."""
    known = _INSTEAD.get(aten)
    if known is not None:
        return known
    near = did_you_mean(aten, {*BY_ATEN, *decomposed()})
    return f"Replace it by what `deepcompress operators` lists{near}"
