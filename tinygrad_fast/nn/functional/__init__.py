"""Layers as functions, `F`: PyTorch's names, arguments and defaults. Weights arrive as arguments."""

from .activation import (
    elu as elu,
    gelu as gelu,
    hardtanh as hardtanh,
    leaky_relu as leaky_relu,
    log_softmax as log_softmax,
    logsigmoid as logsigmoid,
    relu as relu,
    relu6 as relu6,
    sigmoid as sigmoid,
    silu as silu,
    softmax as softmax,
    softplus as softplus,
    tanh as tanh,
)
from .conv import (
    conv1d as conv1d,
    conv2d as conv2d,
    conv_transpose2d as conv_transpose2d,
    fold as fold,
    unfold as unfold,
)
from .dropout import (
    dropout as dropout,
)
from .embedding import (
    embedding as embedding,
    one_hot as one_hot,
)
from .linear import (
    linear as linear,
)
from .loss import (
    binary_cross_entropy as binary_cross_entropy,
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    cross_entropy as cross_entropy,
    huber_loss as huber_loss,
    l1_loss as l1_loss,
    mse_loss as mse_loss,
    nll_loss as nll_loss,
    smooth_l1_loss as smooth_l1_loss,
)
from .norm import (
    batch_norm as batch_norm,
    conv2d_batch_norm as conv2d_batch_norm,
    group_norm as group_norm,
    layer_norm as layer_norm,
    normalize as normalize,
)
from .padding import (
    pad as pad,
)
from .pool import (
    adaptive_avg_pool2d as adaptive_avg_pool2d,
    adaptive_max_pool2d as adaptive_max_pool2d,
    avg_pool2d as avg_pool2d,
    max_pool2d as max_pool2d,
)
from .resample import (
    affine_grid as affine_grid,
    grid_sample as grid_sample,
    interpolate as interpolate,
    pixel_shuffle as pixel_shuffle,
    pixel_unshuffle as pixel_unshuffle,
)
