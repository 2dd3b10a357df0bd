"""The ops: functions of arrays that return their value and their pullbacks. One name at every stop on the way down.

`ops.matmul` runs `xp.matmul`, which on a GPU launches the kernel `matmul`. Nothing here knows Tensor or a backend.
"""

from .common import (
    once,
    same,
    sum_to,
)
from .conv import (
    conv2d,
    conv2d_dw,
    conv2d_dx,
    conv2d_moments,
)
from .elementwise import (
    abs,
    add,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    cast,
    ceil,
    clip,
    copy,
    cos,
    div,
    elu,
    eq,
    erf,
    exp,
    expm1,
    floor,
    floor_divide,
    ge,
    gelu,
    gt,
    hardtanh,
    isfinite,
    isinf,
    isnan,
    le,
    leaky_relu,
    log,
    log1p,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow,
    reciprocal,
    relu,
    remainder,
    round,
    rsqrt,
    sigmoid,
    sign,
    silu,
    sin,
    softplus,
    sqrt,
    square,
    sub,
    tan,
    tanh,
    where,
)
from .embedding import (
    embedding,
)
from .linalg import (
    linear,
    matmul,
)
from .loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    nll_loss,
    soft_cross_entropy,
)
from .movement import (
    cat,
    expand,
    flip,
    gather,
    gather_back,
    getitem,
    getitem_back,
    one_hot,
    pad,
    permute,
    reshape,
    split,
    swap,
)
from .norm import (
    batch_norm,
    batch_norm_eval,
    group_norm,
    layer_norm,
)
from .pool import (
    adaptive_max_index,
    adaptive_max_pool2d,
    max_pool2d,
    max_pool2d_at,
    max_pool2d_back,
    max_pool2d_index,
)
from .random import (
    dropout,
    uniform_like,
)
from .reduce import (
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    argsort,
    cumsum,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    prod,
    softmax,
    std,
    sum,
    var,
)
from .resample import (
    fold,
    grid_sample,
    pixels,
    pixels_back,
    resample2d,
    unfold,
)
