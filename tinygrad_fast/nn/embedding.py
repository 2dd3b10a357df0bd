"""Embedding: a table that is looked up."""

from __future__ import annotations

from typing import Any, Self

from ..tape import setting
from ..tensor import Tensor
from . import functional as F, init
from .module import Module
from .parameter import Parameter


class Embedding(Module):
    """y = weight[x]: integers (...) -> (..., embedding_dim); weight (num_embeddings, embedding_dim), N(0, 1) at first.

    The row `padding_idx`, if given, starts as zeros and gets no gradient.
    Raises IndexError for integers outside the table.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        device: Any = None,
        dtype: Any = None,
    ):
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx must be in the table of {num_embeddings}; got {padding_idx}")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx if padding_idx is None else padding_idx % num_embeddings
        self.weight = Parameter.zeros(num_embeddings, embedding_dim, device=device, dtype=dtype)
        self.reset_parameters()

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None) -> Self:
        """A layer around a table (num_embeddings, embedding_dim), whose memory it shares; learned if not `freeze`."""
        if embeddings.ndim != 2:
            raise ValueError(f"Embedding: the table must have 2 axes; got shape {embeddings.shape}")
        layer = cls(0, embeddings.shape[1])
        layer.num_embeddings, layer.padding_idx = embeddings.shape[0], padding_idx
        layer.weight = Parameter(embeddings, requires_grad=not freeze)
        return layer

    def reset_parameters(self) -> None:
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with setting(record=False):
                self.weight[self.padding_idx] = 0

    def forward(self, x: Tensor) -> Tensor:
        return F.embedding(x, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
