"""What a model says: on a validation set, on a loader, on one item."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from .. import functions
from ..autograd import no_grad
from ..data.show import contact_sheet, title
from ..tensor import Tensor
from .events import Callback
from .loop import TrainingLoop
from .losses import each_item, target_kind, task_of
from .metrics import batch_size
from .progress import ProgressCallback
from .recorder import Recorder

LOOP_STATE = ("training", "dl", "iter", "n_iter", "xb", "yb", "pred", "loss", "loss_grad", "precision")


class Inference(TrainingLoop):
    """The part of a Learner that does not train."""

    @property
    def recorder(self) -> Recorder:
        """What the last fit left behind."""
        return self.callback(Recorder)

    def no_bar(self) -> AbstractContextManager[None]:
        """Without table and bar, for the time of the block."""
        return self.removed_cbs(ProgressCallback)

    no_logging = no_bar

    @contextmanager
    def _restoring(self) -> Iterator[None]:
        """Afterwards the loop's state and each module's mode are as before, so that a callback may predict in a fit."""
        state = {name: getattr(self, name) for name in LOOP_STATE}
        modes = [(m, m.training) for m in self.model.modules()]
        try:
            yield
        finally:
            vars(self).update(state)
            for module, mode in modes:
                module.training = mode

    def loader(self, ds_idx: int) -> Any:
        """The loader of a split, in order and without augmentation where that can be."""
        dl = self.dls.valid if ds_idx == 1 else self.dls.train if ds_idx == 0 else self.dls[ds_idx]
        changing = any(getattr(dl, name, False) for name in ("shuffle", "training", "drop_last"))
        return dl.new(dl.dataset) if changing and hasattr(dl, "new") else dl

    def validate(self, ds_idx: int = 1, dl: Any = None, cbs: Any = None) -> list[float | None]:
        """[loss, metrics] on the validation set, or on `dl`. The recorder keeps the last fit's."""
        with self.added_cbs(cbs), self.no_bar(), self._restoring():
            self._do_validate(self.loader(ds_idx) if dl is None else dl)
        return self.recorder.valid_values

    def get_preds(
        self,
        ds_idx: int = 1,
        dl: Any = None,
        with_input: bool = False,
        with_decoded: bool = False,
        with_loss: bool = False,
        act: Callable | None = None,
    ) -> tuple:
        """(inputs?, predictions, targets, decoded?, losses?) of the validation set, or of `dl`, in its order.

        Predictions went through the activation of the loss (softmax, sigmoid), or through `act`. A loss that has no
        `activation` and is none of PyTorch's leaves the outputs as they are; `OfKind` then says how they are decoded.
        Targets are None where the loader gives none.
        """
        task, gather = task_of(self.loss_func, target_kind(self.dls)), GatherPreds(with_input, with_loss)
        quiet = self.removed_cbs([cb for cb in self.cbs if isinstance(cb, (Recorder, ProgressCallback))])
        with quiet, self._restoring(), self.added_cbs(gather), each_item(self) if with_loss else no_grad():
            self._do_validate(self.loader(ds_idx) if dl is None else dl)
        if not gather.preds:
            raise ValueError("get_preds: the loader gave no batches, so there is nothing to predict")
        with no_grad():
            raw = functions.cat(gather.preds)
            preds = task.activation(raw) if act is None else act(raw)
            found: list[Any] = [functions.cat(gather.inputs)] if with_input else []
            found += [preds, functions.cat(gather.targets) if gather.targets else None]
            found += [task.decodes(preds)] * with_decoded
            found += [functions.cat(gather.losses) if gather.losses else None] * with_loss
        return tuple(found)

    def predict(self, item: Any, with_input: bool = False) -> tuple:
        """(answer, its index, probabilities) of one item: a file, bytes, an image, an array, as the data are made of.

        The item goes through the transforms of validation. `with_input` puts the decoded input first.
        """
        if not hasattr(self.dls, "test_dl"):
            raise ValueError("predict: these loaders cannot take other items (no test_dl); call the model on a batch")
        dl = self.dls.test_dl([item])
        inputs, preds, _, decoded = self.get_preds(dl=dl, with_input=True, with_decoded=True)
        answer = (self._answer(decoded[0]), decoded[0], preds[0])
        return (dl.decode_batch((inputs,))[0][0], *answer) if with_input else answer

    def show_results(
        self, ds_idx: int = 1, dl: Any = None, max_n: int = 9, shuffle: bool = True, **options: Any
    ) -> Any:
        """A contact sheet of up to `max_n` items of a split, or of `dl`, each under its target and what is predicted.

        Where both are classes, the title is green if they agree and red if not. `options` are those of `show_batch`.
        """
        if dl is None:
            dl = self.loader(ds_idx)
            dl = dl.new(dl.dataset, shuffle=True) if shuffle else dl
        batch = dl.one_batch()
        decoded = self.get_preds(dl=[batch], with_decoded=True)[2]
        samples = dl.decode_batch(batch, max_n)
        said = [(dl.caption(sample), title(self._answer(answer))) for sample, answer in zip(samples, decoded)]
        classes = target_kind(self.dls) in ("category", "multicategory", "integer")
        inks = ["black" if not classes else "green" if a == b else "red" for a, b in said]
        return contact_sheet([s[0] for s in samples], list(map("\n".join, said)), inks=inks, **options)

    def _answer(self, decoded: Tensor) -> Any:
        """What a person would say: the label, the labels, the numbers."""
        pipelines = getattr(self.dls.valid.dataset, "pipelines", None)
        return decoded.tolist() if pipelines is None else pipelines[-1].decode(decoded.to("cpu").numpy())


class GatherPreds(Callback):
    """Keeps what a model says to every batch; each item's loss too, if asked to."""

    order = 70

    def __init__(self, with_input: bool, with_loss: bool):
        self.with_input, self.with_loss = with_input, with_loss
        self.inputs: list[Tensor] = []
        self.preds: list[Tensor] = []
        self.targets: list[Tensor] = []
        self.losses: list[Tensor] = []

    def after_batch(self) -> None:
        learn = self.learn
        self.preds.append(learn.pred)
        if self.with_input:
            self.inputs.append(learn.xb[0])
        if learn.yb:
            self.targets.append(learn.yb[0])
            if self.with_loss:
                self.losses.append(learn.loss.reshape(batch_size(learn), -1).mean(1))
