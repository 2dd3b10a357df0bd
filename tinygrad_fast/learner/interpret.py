"""What a classifier gets wrong: confusion matrix, most confused classes, worst items."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.show import contact_sheet
from ..tensor import Tensor
from .recorder import figure_and_axes


class ClassificationInterpretation:
    """Predictions, targets and losses of every item: `ClassificationInterpretation.from_learner(learn)`.

    `preds` (n, classes) probabilities, `targs` (n,) class indices, `decoded` (n,) predicted indices, `losses` (n,).
    """

    def __init__(
        self, dl: Any, preds: Tensor, targs: Tensor, decoded: Tensor, losses: Tensor, vocab: list | None = None
    ):
        if targs.ndim != 1 or preds.ndim != 2:
            raise ValueError(
                "ClassificationInterpretation: each item has one class index as target, and one probability for each "
                f"class; got targets {targs.shape} and predictions {preds.shape}"
            )
        self.dl, self.preds, self.targs, self.decoded, self.losses = dl, preds, targs, decoded, losses
        self.vocab = list(range(preds.shape[1])) if vocab is None else list(vocab)

    @classmethod
    def from_learner(cls, learn: Any, ds_idx: int = 1, dl: Any = None) -> ClassificationInterpretation:
        """Of the validation set, of another split, or of a loader with targets."""
        dl = learn.loader(ds_idx) if dl is None else dl
        preds, targs, decoded, losses = learn.get_preds(dl=dl, with_decoded=True, with_loss=True)
        if targs is None:
            raise ValueError(
                "ClassificationInterpretation: the loader gives no targets; use test_dl(items, with_labels=True)"
            )
        return cls(dl, preds, targs, decoded, losses, getattr(getattr(dl, "dataset", None), "vocab", None))

    def confusion_matrix(self) -> np.ndarray:
        """(classes, classes) counts: rows are the true classes, columns the predicted ones."""
        n = len(self.vocab)
        pairs = self.targs.to("cpu").numpy().astype(np.int64) * n + self.decoded.to("cpu").numpy()
        return np.bincount(pairs, minlength=n * n).reshape(n, n)

    def most_confused(self, min_val: int = 1) -> list[tuple[Any, Any, int]]:
        """(true class, predicted class, how often), from the most frequent mistake down to `min_val` times."""
        wrong = self.confusion_matrix()
        np.fill_diagonal(wrong, 0)
        found = [(self.vocab[i], self.vocab[j], int(wrong[i, j])) for i, j in np.argwhere(wrong >= max(min_val, 1))]
        return sorted(found, key=lambda row: -row[2])

    def top_losses(self, k: int | None = None, largest: bool = True) -> tuple[Tensor, list[int]]:
        """The k largest (or smallest) losses and the indices of their items; all by default."""
        order = self.losses.argsort(descending=largest)[: len(self.losses) if k is None else k]
        return self.losses[order], order.tolist()

    def plot_top_losses(self, k: int = 9, largest: bool = True, **options: Any) -> Any:
        """A contact sheet of the worst items, each under "predicted/actual/loss/probability of the predicted"."""
        losses, places = self.top_losses(k, largest)
        titles = [
            f"{self.vocab[int(self.decoded[i])]}/{self.vocab[int(self.targs[i])]}/{loss:.2f}/{self.preds[i].max().item():.2f}"
            for i, loss in zip(places, losses.tolist())
        ]
        return contact_sheet([self._picture(i) for i in places], titles, **options)

    def _picture(self, i: int) -> Any:
        """An item as the model saw it, with its batch transforms undone."""
        data, dl = self.dl.dataset, self.dl
        if hasattr(data, "items"):
            one = data.new([data.items[i]])
        elif hasattr(data, "tensors"):
            one = type(data)(*(t[i : i + 1] for t in data.tensors))
        else:
            one = [data[i]]
        small = dl.new(one, kinds=dl.kinds)
        return small.decode_batch(small.one_batch())[0][0]

    def plot_confusion_matrix(self, normalize: bool = False, cmap: str = "Blues") -> Any:
        """The matrix as a matplotlib figure; `normalize` divides each row by its sum."""
        counts = self.confusion_matrix()
        shown = counts / np.maximum(counts.sum(1, keepdims=True), 1) if normalize else counts
        figure, axes = figure_and_axes()
        axes.imshow(shown, cmap=cmap)
        ticks = range(len(self.vocab))
        axes.set(xticks=ticks, yticks=ticks, xlabel="predicted", ylabel="actual", title="confusion matrix")
        axes.set_xticklabels(self.vocab, rotation=90)
        axes.set_yticklabels(self.vocab)
        for i, j in np.ndindex(shown.shape):
            dark = shown[i, j] > shown.max() / 2
            text = f"{shown[i, j]:.2f}" if normalize else f"{counts[i, j]}"
            axes.text(j, i, text, ha="center", va="center", color="white" if dark else "black")
        return figure
