"""Learner: data, a model, a loss and an optimiser, brought together and trained.

The loop itself stands in loop.py, what happens around it in callbacks.py and recorder.py, prediction in inference.py.
Here: how fits are started, the optimiser, saving and loading.
"""

from __future__ import annotations

import os
import warnings
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import backend, checkpoint, nn, optim, rng, schedule
from ..tensor import Tensor
from . import groups
from .callbacks import CSVLogger, ParamScheduler, TrackerCallback, TrainEvalCallback
from .events import Callback, CancelFitException
from .export import exported, restored
from .graph_step import GraphStep
from .inference import Inference
from .loop import length
from .losses import infer_loss
from .lr_find import LRFinder, Suggestion, suggest, valley
from .metrics import name_of
from .mixed_precision import MixedPrecision
from .progress import ProgressCallback
from .recorder import Recorder

Adam = partial(optim.AdamW, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.01)  # fastai's default


class Learner(Inference):
    """learn = Learner(dls, model, metrics=accuracy); learn.fit_one_cycle(5, 1e-3)

    dls: `dls.train` and `dls.valid`, loaders of batches (inputs..., target). loss_func(pred, target): by default what
    the data ask for. opt_func(groups, lr=...): an optimiser. metrics: functions of (pred, target), or Metrics.
    splitter(model): parameters in groups, first layers first. wd: weight decay in place of the optimiser's own; norms
    and biases have none unless `wd_bn_bias`; with `train_bn` norms are trained in frozen groups too. moms: the cycle of
    the momentum. Models are saved in path/model_dir.
    """

    def __init__(
        self,
        dls: Any,
        model: nn.Module,
        loss_func: Callable | None = None,
        opt_func: Callable[..., optim.Optimizer] = Adam,
        lr: float | slice = 1e-3,
        splitter: groups.Splitter = groups.trainable_params,
        cbs: Callback | Iterable[Callback] | None = None,
        metrics: Any = None,
        path: str | os.PathLike | None = None,
        model_dir: str | os.PathLike = "models",
        wd: float | None = None,
        wd_bn_bias: bool = False,
        train_bn: bool = True,
        moms: tuple[float, float, float] = (0.95, 0.85, 0.95),
        default_cbs: bool = True,
    ):
        if not hasattr(dls, "train"):
            raise TypeError(
                f"Learner: dls must have loaders dls.train and dls.valid; got a {type(dls).__name__}. Write "
                "DataLoaders(train, valid)"
            )
        if isinstance(model, type) or not callable(getattr(model, "parameters", None)):
            raise TypeError(f"Learner: the model is an nn.Module; got {_what(model)}")
        if loss_func is not None and (isinstance(loss_func, type) or not callable(loss_func)):
            raise TypeError(f"Learner: loss_func must be a function of (pred, target); got {_what(loss_func)}")
        if not callable(opt_func):
            raise TypeError(
                f"Learner: opt_func must make an optimiser, opt_func(groups, lr=...); got {_what(opt_func)}. Write "
                "opt_func=SGD, or partial(SGD, momentum=0.9)"
            )
        self.dls, self.model, self.opt_func, self.lr, self.splitter = dls, model, opt_func, lr, splitter
        self.loss_func = infer_loss(dls) if loss_func is None else loss_func
        self.metrics = list(metrics) if isinstance(metrics, (list, tuple)) else [] if metrics is None else [metrics]
        self.path = Path(getattr(dls, "path", ".") if path is None else path)
        self.model_dir, self.wd, self.wd_bn_bias, self.train_bn = Path(model_dir), wd, wd_bn_bias, train_bn
        self.moms, self.opt, self.cbs = moms, None, []
        self._layers: list[list[Tensor]] = []
        self.figure: Any = None
        self.add_cbs([TrainEvalCallback(), Recorder(), ProgressCallback()] if default_cbs else [])
        self.add_cbs(cbs)
        self("after_create")

    # ------------------------------------------------------------------------------------------------------------ fits

    def fit(
        self,
        n_epoch: int,
        lr: float | slice | None = None,
        wd: float | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
    ) -> None:
        """Train for n_epoch epochs at `lr`: a number, or a slice over the groups (see `groups.spread`).

        The optimiser goes on with what it remembers of earlier fits, unless `reset_opt`. With `start_epoch` a fit that
        was broken off, and whose model and optimiser were loaded, goes on where it was: schedules, and batches of a
        loader with a seed, are those of these epochs. Raises NonFiniteLoss when the loss becomes nan or inf. However it
        ends, the model and the recorder stay usable.
        """
        if not 0 <= start_epoch <= n_epoch:
            raise ValueError(f"fit: 0 <= start_epoch <= n_epoch; got start_epoch {start_epoch} of {n_epoch} epochs")
        with self.added_cbs(cbs), self._ending_well():
            if self.opt is None or reset_opt:
                self.create_opt()
            if wd is not None:
                self.set_hyper("wd", wd)
            self.set_hyper("lr", self.lr if lr is None else lr)
            if not length(self.dls.train):
                raise ValueError("fit: the training loader has no batches; has it fewer items than a batch, or none?")
            self.n_epoch = n_epoch
            self._part("fit", partial(self._do_fit, start_epoch), CancelFitException)

    def fit_one_cycle(
        self,
        n_epoch: int,
        lr_max: float | slice | None = None,
        div: float = 25.0,
        div_final: float = 1e5,
        pct_start: float = 0.25,
        wd: float | None = None,
        moms: Sequence[float] | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
    ) -> None:
        """Train with `schedule.one_cycle`: the rate climbs to lr_max and falls to lr_max / div_final, the momentum does
        the opposite."""
        lr = self._rates(lr_max, reset_opt)
        scheds = schedule.one_cycle(lr, div, div_final, pct_start, self.moms if moms is None else moms)
        self._fit_scheduled(n_epoch, scheds, wd, cbs, start_epoch)

    def fit_flat_cos(
        self,
        n_epoch: int,
        lr: float | slice | None = None,
        div_final: float = 1e5,
        pct_start: float = 0.75,
        wd: float | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
    ) -> None:
        """Train at `lr` for the share pct_start, then down a cosine: `schedule.flat_cos`."""
        scheds = schedule.flat_cos(self._rates(lr, reset_opt), div_final, pct_start)
        self._fit_scheduled(n_epoch, scheds, wd, cbs, start_epoch)

    def fit_sgdr(
        self,
        n_cycles: int,
        cycle_len: int,
        lr_max: float | slice | None = None,
        cycle_mult: int = 2,
        wd: float | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
    ) -> None:
        """Train in cosines from lr_max to 0, the first of cycle_len epochs: `schedule.sgdr`."""
        scheds = schedule.sgdr(self._rates(lr_max, reset_opt), n_cycles, cycle_mult)
        n_epoch = cycle_len * sum(cycle_mult**i for i in range(n_cycles))
        self._fit_scheduled(n_epoch, scheds, wd, cbs, 0)

    def _rates(self, lr: float | slice | None, reset_opt: bool) -> np.ndarray:
        """One learning rate for each group."""
        if self.opt is None or reset_opt:
            self.create_opt()
        return np.array(groups.spread(self.lr if lr is None else lr, groups.n_layers(self.opt)))

    def _fit_scheduled(self, n_epoch: int, scheds: dict, wd: float | None, cbs: Any, start_epoch: int) -> None:
        with self.added_cbs(ParamScheduler(scheds)):
            self.fit(n_epoch, wd=wd, cbs=cbs, start_epoch=start_epoch)

    def fine_tune(
        self,
        epochs: int,
        base_lr: float = 2e-3,
        freeze_epochs: int = 1,
        lr_mult: float = 100,
        pct_start: float = 0.3,
        div: float = 5.0,
        **kwargs: Any,
    ) -> None:
        """Train the head alone for `freeze_epochs`, then everything for `epochs`.

        Learning rates: base_lr for the head; then base_lr / 2 for it, and base_lr / 2 / lr_mult for the first layers.
        """
        self.freeze()
        self.fit_one_cycle(freeze_epochs, slice(base_lr), pct_start=0.99, **kwargs)
        base_lr /= 2
        self.unfreeze()
        self.fit_one_cycle(epochs, slice(base_lr / lr_mult, base_lr), pct_start=pct_start, div=div, **kwargs)

    # ------------------------------------------------------------------------------------------- optimiser and groups

    def create_opt(self) -> None:
        """A new optimiser that remembers nothing."""
        self._layers = [list(layer) for layer in self.splitter(self.model)]
        self.opt = self.opt_func(
            groups.optimizer_groups(self.model, self._layers, self.wd_bn_bias),
            lr=groups.spread(self.lr, 1)[0],
        )
        if self.wd is not None:
            self.set_hyper("wd", self.wd)

    def set_hyper(self, name: str, value: Any) -> None:
        """Set "lr", "mom", "wd", ... of the optimiser: a number, a slice, or one number for each group."""
        groups.set_hyper(self.opt, name, value)

    def get_hyper(self, name: str) -> list[float]:
        """ "lr", "mom", "wd", ... of each group."""
        return groups.get_hyper(self.opt, name)

    def freeze_to(self, n: int) -> None:
        """Train the groups from the n-th on alone; norms everywhere if `train_bn`. The optimiser forgets."""
        if self.opt is None:
            self.create_opt()
        layers = self._layers
        first = n if n >= 0 else len(layers) + n
        if not 0 <= first < max(len(layers), 1):
            raise ValueError(f"freeze_to: n is one of the {len(layers)} groups; got {n}")
        norms = {id(p) for p in groups.norm_params(self.model)} if self.train_bn else set()
        for i, layer in enumerate(layers):
            for p in layer:
                p.requires_grad_(i >= first or id(p) in norms)
        self.opt.state.clear()

    def freeze(self) -> None:
        """Train the last group alone."""
        self.freeze_to(-1)

    def unfreeze(self) -> None:
        """Train all groups."""
        self.freeze_to(0)

    # ------------------------------------------------------------------------------------------------- mixed precision

    def to_fp16(self, **scaler: Any) -> Learner:
        """Predict and train in float16 where `autocast` does, with loss scaling; the weights stay float32.

        scaler: init_scale, growth_factor, backoff_factor, growth_interval of `amp.GradScaler`. See MixedPrecision.
        """
        self.to_fp32().add_cbs(MixedPrecision("float16", **scaler))
        return self

    def to_bf16(self) -> Learner:
        """Predict and train in bfloat16 where `autocast` does; the weights stay float32, and no loss is scaled."""
        self.to_fp32().add_cbs(MixedPrecision("bfloat16"))
        return self

    def to_fp32(self) -> Learner:
        """Everything in float32 again."""
        self.remove_cbs(MixedPrecision)
        return self

    # ------------------------------------------------------------------------------------------------------ CUDA graphs

    def capture(self, warmup: int = 2) -> Learner:
        """Train by one CUDA graph a step: the same numbers, without Python between the kernels. See GraphStep.

        `learn.remove_cbs(GraphStep)` undoes it; for one fit alone: `learn.fit(1, cbs=GraphStep())`.
        """
        self.remove_cbs(GraphStep)
        self.add_cbs(GraphStep(warmup))
        return self

    # ---------------------------------------------------------------------------------------------------------- lr_find

    def lr_find(
        self,
        start_lr: float = 1e-7,
        end_lr: float = 10,
        num_it: int = 100,
        stop_div: bool = True,
        show_plot: bool = False,
        suggest_funcs: Suggestion | Sequence[Suggestion] = valley,
    ) -> Any:
        """Train a little with growing learning rates; returns a suggestion for each of `suggest_funcs`, by its name.

        Model, optimiser and random numbers are afterwards as they were. `learn.recorder.plot_lr_find()` draws the test;
        with `show_plot` it is drawn right away, with the suggestions, as `learn.figure`.

        >>> lr_min, lr_steep = learn.lr_find(suggest_funcs=(minimum, steep))
        """
        funcs = suggest_funcs if isinstance(suggest_funcs, (list, tuple)) else (suggest_funcs,)
        finder = LRFinder(start_lr, end_lr, num_it, stop_div)
        n_epoch = finder.num_it // max(len(self.dls.train), 1) + 1
        loggers = [cb for cb in self.cbs if isinstance(cb, (ProgressCallback, TrackerCallback, CSVLogger))]
        with self._as_it_was(), self.removed_cbs(loggers):
            self.fit(n_epoch, cbs=finder)
        lrs, losses = self.recorder.lrs, self.recorder.losses
        found = {name_of(f): suggest(f, lrs, losses, finder.num_it) for f in funcs}
        if show_plot:
            self.figure = self.recorder.plot_lr_find(suggestions=found)
        return namedtuple("SuggestedLRs", found)(**found)

    @contextmanager
    def _as_it_was(self) -> Iterator[None]:
        """After the block the model, the optimiser and the random numbers are as before, whatever happened in it."""
        weights = {name: t.clone() for name, t in self.model.state_dict().items()}
        opt, memory = self.opt, None
        if opt is not None:
            memory = opt.state_dict()
            memory["state"] = {
                i: {name: v.clone() if isinstance(v, Tensor) else v for name, v in s.items()}
                for i, s in memory["state"].items()
            }
        state, train = rng.default.get_state(), self.dls.train
        epoch = getattr(train, "epoch", None)
        try:
            yield
        finally:
            if epoch is not None:
                train.epoch = epoch  # what a seeded loader shuffles by
            self.model.load_state_dict(weights)
            self.opt = opt
            if opt is not None:
                opt.load_state_dict(memory)
            rng.default.set_state(state)

    # ------------------------------------------------------------------------------------------------------ save, load

    def _file(self, file: str | os.PathLike) -> Path:
        return _named(self.path / self.model_dir / file)

    def save(self, file: str | os.PathLike, with_opt: bool = True) -> Path:
        """Write the model, and what the optimiser remembers, to path/model_dir/file.safetensors; returns that path."""
        path = self._file(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {"model": self.model.state_dict()}
        if with_opt and self.opt is not None:
            state["opt"] = self.opt.state_dict()
        checkpoint.save(state, path)
        return path

    def load(self, file: str | os.PathLike, with_opt: bool = True, strict: bool = True) -> Learner:
        """Read what `save` wrote. An optimiser state that does not fit is left out, with a warning."""
        state = checkpoint.load(self._file(file))
        self.model.load_state_dict(state.get("model", state), strict=strict)
        if with_opt and "opt" in state:
            if self.opt is None:
                self.create_opt()
            try:
                self.opt.load_state_dict(state["opt"])
            except (ValueError, KeyError) as e:
                warnings.warn(f"load: the model is loaded, the state of the optimiser is not: {e}", stacklevel=2)
        return self

    def export(self, fname: str | os.PathLike = "export") -> Path:
        """Write what predicting takes to path/fname.safetensors, for `load_learner`; returns that path.

        That is the model, the loss, the vocabulary and the transforms of validation: no items, no optimiser, none of
        the functions that found inputs and labels. Raises TypeError, and writes nothing, for what cannot be written.
        """
        path = _named(self.path / fname)
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(exported(self), path)
        return path


def load_learner(fname: str | os.PathLike, cpu: bool = True) -> Learner:
    """What `Learner.export` wrote, to predict with: on the CPU, or where tensors are made (`tf.set_default_device`).

    Items are inputs themselves, a file, bytes, an image or an array: `get_x` is not in the file. Nothing in the file is
    run. Classes of one's own, a model or a transform, must have been imported. Raises ValueError for a file that is
    damaged, of another kind, of a later version, or names what is not there.
    """
    path = _named(Path(fname))
    dls, model, loss_func = restored(checkpoint.load(path), str(path))
    if not cpu:
        device = backend.get_default_device()
        model.to(device)
        dls.to(device)
    return Learner(dls, model, loss_func, path=path.parent)


def _named(path: Path) -> Path:
    return path if path.suffix == ".safetensors" else path.with_name(path.name + ".safetensors")


def _what(x: Any) -> str:
    """In an error: "the class Net; write Net(...)", "'adam'", "a SGD"."""
    if isinstance(x, type):
        return f"the class {x.__name__}; write {x.__name__}(...)"
    return repr(x) if isinstance(x, str) else f"a {type(x).__name__}"
