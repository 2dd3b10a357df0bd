"""Layers as functions, `F`: PyTorch's names, arguments and defaults. Weights arrive as arguments."""

from .activation import (
    dropout,
    elu,
    embedding,
    gelu,
    hardtanh,
    leaky_relu,
    linear,
    log_softmax,
    logsigmoid,
    one_hot,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from .conv import (
    conv1d,
    conv2d,
    conv_transpose2d,
    fold,
    unfold,
)
from .loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from .norm import (
    batch_norm,
    group_norm,
    layer_norm,
    normalize,
)
from .padding import (
    pad,
)
from .pool import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    max_pool2d,
)
from .resample import (
    affine_grid,
    grid_sample,
    interpolate,
    pixel_shuffle,
    pixel_unshuffle,
)
