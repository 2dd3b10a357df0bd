"""vision_learner: an architecture without its classifier, and a new head for the classes of the data."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from .. import checkpoint, functions, nn
from ..autograd import no_grad
from ..creation import zeros
from ..learner import Learner
from ..tensor import Tensor


class AdaptiveConcatPool2d(nn.Module):
    """(N, C, H, W) -> (N, 2C, size, size): the adaptive max pool, then the adaptive mean pool."""

    def __init__(self, size: int = 1):
        self.mp, self.ap = nn.AdaptiveMaxPool2d(size), nn.AdaptiveAvgPool2d(size)

    def forward(self, x: Tensor) -> Tensor:
        return functions.cat([self.mp(x), self.ap(x)], dim=1)


class SigmoidRange(nn.Module):
    """sigmoid(x) (high - low) + low"""

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid() * (self.high - self.low) + self.low


class Body(nn.Module):
    """A network up to its last feature maps: `net.forward_features`, without the classifier `net.fc`."""

    def __init__(self, net: nn.Module):
        if not hasattr(net, "forward_features"):
            raise TypeError(
                f"vision_learner: the architecture has forward_features(x), which gives feature maps (N, C, H, W); "
                f"{type(net).__name__} has none. Make the model yourself and use Learner(dls, model)"
            )
        vars(net)["fc"] = None
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.forward_features(x)


def create_head(
    nf: int,
    n_out: int,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    concat_pool: bool = True,
    first_bn: bool = True,
    y_range: tuple[float, float] | None = None,
) -> nn.Sequential:
    """Feature maps of nf channels -> n_out scores: pool, then for each layer batch norm, dropout, linear, ReLU.

    lin_ftrs: sizes of the hidden layers, [512] by default. ps: dropout of the last layer, half of it before; or one for
    each. A linear layer behind a batch norm has no bias. Weights from N(0, 2 / in_features).
    """
    pool = AdaptiveConcatPool2d() if concat_pool else nn.AdaptiveAvgPool2d(1)
    sizes = [nf * 2 if concat_pool else nf, *([512] if lin_ftrs is None else lin_ftrs), n_out]
    n = len(sizes) - 1
    drops = [ps / 2] * (n - 1) + [ps] if isinstance(ps, (int, float)) else list(ps)
    if len(drops) != n:
        raise ValueError(f"create_head: ps is one number, or one for each of the {n} layers; got {len(drops)}")
    layers: list[nn.Module] = [pool, nn.Flatten()]
    for i, (c, o, p) in enumerate(zip(sizes, sizes[1:], drops)):
        norm = first_bn or i > 0
        if norm:
            layers.append(nn.BatchNorm1d(c))
        if p:
            layers.append(nn.Dropout(p))
        linear = nn.Linear(c, o, bias=not norm)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers.append(linear)
        if i < n - 1:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers, *([SigmoidRange(*y_range)] if y_range else []))


def body_and_head(model: nn.Sequential) -> list[list[Tensor]]:
    """Groups of parameters: early layers, late layers, head; body, head where it is no ResNet of four stages."""
    body, head = model[0], model[1]
    late = [p for name in ("layer3", "layer4") for p in getattr(body.net, name, nn.Identity()).parameters()]
    if not hasattr(body.net, "layer4"):
        return [list(body.parameters()), list(head.parameters())]
    ids = {id(p) for p in late}
    return [[p for p in body.parameters() if id(p) not in ids], late, list(head.parameters())]


def vision_learner(
    dls: Any,
    arch: Callable[..., nn.Module],
    n_out: int | None = None,
    pretrained: str | os.PathLike | bool | None = None,
    n_in: int = 3,
    splitter: Callable = body_and_head,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    concat_pool: bool = True,
    first_bn: bool = True,
    y_range: tuple[float, float] | None = None,
    custom_head: nn.Module | None = None,
    **options: Any,
) -> Learner:
    """A Learner of `arch` cut before its pool, with a new head for the `dls.c` classes of the data (or `n_out`).

    pretrained: a safetensors file of weights of `arch`: what Learner.save wrote after training on other data, or
    torchvision's weights converted; then the body is frozen until `unfreeze()`, which fine_tune does. What they saw in
    training the data must give them too: torchvision's want batch_tfms=Normalize.from_stats(*imagenet_stats), which
    fastai adds by itself. There is no model zoo to take them from: True is refused, and without a file all weights are
    random. options: those of Learner.

    >>> learn = vision_learner(dls, resnet34, metrics=error_rate); learn.fine_tune(1)
    """
    if pretrained is True:
        raise ValueError(
            "vision_learner: there is no model zoo, so pretrained is a file of weights; got True. Give your own, "
            'pretrained="weights.safetensors", or leave it out to start from random weights'
        )
    if isinstance(arch, nn.Module):
        raise TypeError(
            "vision_learner: arch must be a function that makes the model, as resnet18 without brackets; got a "
            f"{type(arch).__name__}. For a model use Learner(dls, model)"
        )
    n_out = n_out or dls.c
    net = arch(in_channels=n_in) if n_in != 3 else arch()
    body = Body(net)
    if pretrained:
        _load_body(net, pretrained)
    head = create_head(_channels(body, n_in), n_out, lin_ftrs, ps, concat_pool, first_bn, y_range)
    learn = Learner(dls, nn.Sequential(body, custom_head or head), splitter=splitter, **options)
    if pretrained:
        learn.freeze()
    return learn


def cnn_learner(dls: Any, arch: Callable[..., nn.Module], **options: Any) -> Learner:
    """`vision_learner` under the name that it had first."""
    return vision_learner(dls, arch, **options)


def _channels(body: nn.Module, n_in: int) -> int:
    """How many feature maps the body gives: seen by trying."""
    training = body.training
    with no_grad():
        n = body.eval()(zeros(1, n_in, 64, 64)).shape[1]
    body.train(training)
    return n


def _load_body(net: nn.Module, file: Any) -> None:
    """Weights of the same architecture with any classifier, or of such a body with another head."""
    given = checkpoint.load(file)
    given = given.get("model", given)
    given = {name.removeprefix("0.net."): t for name, t in given.items()}
    wanted = net.state_dict()
    missing = [name for name in wanted if name not in given]
    if missing:
        raise ValueError(
            f"vision_learner: {file} lacks {len(missing)} of the {len(wanted)} names of {type(net).__name__}, "
            f"{missing[0]} first; are these weights of another architecture?"
        )
    net.load_state_dict({name: given[name] for name in wanted})
