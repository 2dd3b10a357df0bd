"""A table looked up by index. Its adjoint, `embedding_back`, is the backend's."""

from __future__ import annotations


def embedding(xp, index, w, *, padding_idx):
    """w[index]: rows of w (rows, D) at integers of any shape.     dw = g added at the rows, 0 at row `padding_idx`"""
    rows = w.shape[0]
    return xp.embedding(index, w, padding_idx=padding_idx), (
        None,
        lambda g: xp.embedding_back(index, g, rows=rows, padding_idx=padding_idx),
    )
