"""Advice for operators that are not supported: which supported ones to use instead."""

from __future__ import annotations

from deepcompress.errors import did_you_mean, setting
from deepcompress.frontend.decompositions import decomposed
from deepcompress.ops import BY_ATEN

# Advice -> names of the aten ops that it is for.
_ADVICE = {
    "Leave it out: index() of the result returns the same": "argmax",
    "Do it in the firmware, before or after the network": "argmin argsort sort topk",
    "Clamp instead (relu, clamp, hardtanh), or multiply by a sigmoid": (
        "gt ge lt le eq ne where masked_fill logical_and logical_or logical_not"
    ),
    "Take slices at fixed places (x[:, 2:5]), or multiply by a Linear's constant matrix": (
        "index index_select index_put gather scatter nonzero one_hot masked_select"
    ),
    "Give one-hot vectors to nn.Linear(len(e.weight), e.embedding_dim, bias=False) with the weight "
    "e.weight.T of the embedding e. Or look the vectors up in the firmware, and export the network "
    "after the embedding": "embedding embedding_bag",
    "Put the frames into channels next to each other, and use the layer of two dimensions": (
        "conv3d conv_transpose3d max_pool3d avg_pool3d"
    ),
    "Use BatchNorm, which costs nothing, or LayerNorm over the last axes": (
        "local_response_norm native_group_norm norm"
    ),
    "Compute the spectrum in the firmware, or write it as a Conv1d with fixed weights": (
        "stft fft_rfft fft_fft fft_fft2 _fft_r2c"
    ),
    "Name the axes, as in x.amax((1, 2, 3))": "max min std var",
    "Call x.var() and x.mean()": "var_mean",
    "Use Linear with a stored matrix, or sums of x * y": "bmm baddbmm einsum",
    "Use nn.GRU, or convolutions along the sequence": "scaled_dot_product_attention",
    f"Use nn.GRU or nn.LSTM; for a step at a time, with the option {setting('stateful')}": (
        "rnn_tanh rnn_relu rnn_tanh_cell rnn_relu_cell gru_cell lstm_cell"
    ),
    "Use nn.GRU, or nn.Linear with fixed weights: a triangular matrix of ones": "cumsum",
    "Use nn.Upsample with mode='bilinear' or 'nearest', or nn.ConvTranspose2d": (
        "upsample_bicubic2d grid_sampler max_unpool2d"
    ),
    "Use nn.Conv2d with fixed weights, or slices and torch.cat": "im2col",
    "Use nn.ConvTranspose2d with fixed weights": "col2im",
    "Use nn.Linear of both inputs' product, or of torch.cat of them": "bilinear",
    "Compare with stored vectors by nn.Linear without bias": "cosine_similarity cdist",
    "Compute both ways and add them up, weighted, or decide in the firmware": "cond",
    "Write the steps one after the other: their number must be fixed": "while_loop",
    "Make the noise an input of the network": "randn_like rand_like",
    "Convert the model (convert_pt2e) before it is exported. For a network of prepare_qat(), save "
    "its state_dict, and name a function that returns the prepared network: "
    f"{setting('architecture', 'file.py:function')}": "fused_moving_avg_obs_fake_quant",
}

# Advice for classes of torch.nn with several unsupported calls.
_MODULE_ADVICE = {
    "MultiheadAttention": "Use nn.GRU, or convolutions along the sequence",
}


def advice_for_module(kind: str) -> str | None:
    """What to use instead of a class of torch.nn; None if `advice_for` its calls says more."""
    return _MODULE_ADVICE.get(kind)


def advice_for(aten: str, *, default: str = "") -> str:
    """What to do about an unsupported aten op, as a sentence without its full stop.

    Args:
        default: advice for an op without a row in the table. If empty, the supported op with the
            most similar name is suggested.
    """
    for advice, names in _ADVICE.items():
        if aten in names.split():
            return advice
    if default:
        return default
    similar = did_you_mean(aten, {*BY_ATEN, *decomposed()})
    return f"Replace it by what `deepcompress operators` lists{similar}"
