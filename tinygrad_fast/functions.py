"""Functions of several tensors, and those of one that are not methods: `cat`, `stack`, `where`, `einsum`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from . import dtypes, shapes
from .tensor import Tensor, cat as cat
from .tensor.arithmetic import choose
from .tensor.promote import must_tensors

Method = TypeVar("Method", bound=Callable[..., Any])


def free(method: Method) -> Method:
    """`tf.NAME` from `Tensor.NAME`: the first argument is called `input`, as in PyTorch, and must be a Tensor."""

    @wraps(method)
    def run(input: Any, *arguments: Any, **options: Any) -> Any:
        if not isinstance(input, Tensor):
            kind = type(input).__name__
            raise TypeError(f"{method.__name__}: input must be a Tensor; got {kind}. Make one with tf.tensor(...)")
        return method(input, *arguments, **options)

    return cast(Method, run)


def is_tensor(obj: Any) -> bool:
    """True for a Tensor."""
    return isinstance(obj, Tensor)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joined along a new axis; all shapes must be equal."""
    must_tensors("stack", tensors)
    if len({t.shape for t in tensors}) > 1:
        raise shapes.ShapeError(f"stack: all shapes must be equal; got {', '.join(str(t.shape) for t in tensors)}")
    return cat([t.unsqueeze(dim) for t in tensors], dim)


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, else `other`; each may be a number. Alone: `nonzero(as_tuple=True)`."""
    if input is None and other is None:
        return free(Tensor.nonzero)(condition, as_tuple=True)
    dtype = dtypes.result_type(input, other)
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = Tensor(input, dtype=dtype, device=getattr(condition, "device", None))
    return choose("where", condition, input, other, dtype)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All expanded to their common shape."""
    must_tensors("broadcast_tensors", tensors)
    shape = shapes.broadcast("broadcast_tensors", *(t.shape for t in tensors))
    return tuple(t.expand(shape) for t in tensors)


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products named by letters: einsum("bij,bjk->bik", x, y) is a batched matrix product.

    Operands are joined two at a time, left to right. For each pair, letters are sorted into batch (in both, and still
    needed), summed (in both, not needed again) and free ones; then it is one batched matmul.
    Raises ShapeError for letters without operand, operands without letters, and sizes that disagree.
    """
    if not isinstance(equation, str):
        raise TypeError(f'einsum: first the equation, as "ij,jk->ik"; got {type(equation).__name__}')
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    must_tensors("einsum", tensors)
    terms, output = _letters(equation, tensors)
    sizes: dict[str, int] = {}
    for term, t in zip(terms, tensors):
        for letter, n in zip(term, t.shape):
            if sizes.get(letter, 1) not in (1, n) and n != 1:
                raise shapes.ShapeError(
                    f"einsum: letter {letter!r} must have one size, or 1; got {sizes[letter]} and {n} in {equation!r}"
                )
            sizes[letter] = n if n != 1 else sizes.get(letter, 1)
    pairs = [_diagonal(*_stretched(term, t, sizes)) for term, t in zip(terms, tensors)]
    term, x = pairs[0]
    for i, (other, y) in enumerate(pairs[1:]):
        needed = set(output).union(*(t for t, _ in pairs[i + 2 :]))
        term, x = _product(term, x, other, y, needed)
    gone = [i for i, letter in enumerate(term) if letter not in output]
    if gone:
        x, term = x.sum(gone), "".join(letter for letter in term if letter in output)
    return x.permute([term.index(letter) for letter in output]) if output else x


def _letters(equation: str, tensors: list[Tensor]) -> tuple[list[str], str]:
    """The letters of each operand and of the result; an ellipsis becomes capital letters that are free."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise shapes.ShapeError(f"einsum: {equation!r} names {len(terms)} operands; got {len(tensors)}")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
    extra = 0
    for i, (term, t) in enumerate(zip(terms, tensors)):
        room = t.ndim - len(term.replace("...", ""))
        if room < 0 or (room and "..." not in term):
            raise shapes.ShapeError(f"einsum: operand {i} of {equation!r} has {len(term)} letters; got shape {t.shape}")
        if "..." in term:
            extra = max(extra, room)
            terms[i] = term.replace("...", "".join(spare[:room][::-1]))  # aligned at the right
    batch = "".join(spare[:extra][::-1])
    if not arrow:
        counts = "".join(terms)
        output = batch + "".join(sorted(c for c in set(counts) if counts.count(c) == 1 and c not in batch))
    output = output.replace("...", batch)
    unknown = [c for c in output if c not in "".join(terms)]
    if unknown or len(set(output)) != len(output):
        raise shapes.ShapeError(
            f"einsum: each letter of the result must stand once, and in an operand; got {equation!r}"
        )
    return terms, output


def _stretched(term: str, x: Tensor, sizes: dict[str, int]) -> tuple[str, Tensor]:
    """An axis of size 1 whose letter has a larger size elsewhere broadcasts: it, and its letter, go away."""
    gone = [i for i, letter in enumerate(term) if x.shape[i] < sizes[letter]]
    kept = [i for i in range(x.ndim) if i not in gone]
    if any(term[i] in (term[k] for k in kept) for i in gone):  # a diagonal of a broadcast axis
        return term, x.expand(tuple(sizes[letter] for letter in term))
    return "".join(term[i] for i in kept), x.reshape(tuple(x.shape[i] for i in kept))


def _diagonal(term: str, x: Tensor) -> tuple[str, Tensor]:
    """A letter that stands twice in one operand means its diagonal."""
    for letter in sorted(set(term)):
        while term.count(letter) > 1:
            i, j = [k for k, c in enumerate(term) if c == letter][:2]
            x = x.movedim(i, 0).movedim(j, 1)
            term = letter * 2 + "".join(c for k, c in enumerate(term) if k not in (i, j))
            steps = Tensor(list(range(x.shape[0])), dtype="int64", device=x.device)
            x, term = x[steps, steps], term[1:]
    return term, x


def _product(a: str, x: Tensor, b: str, y: Tensor, needed: set[str]) -> tuple[str, Tensor]:
    """Two operands into one: a batched matmul over (batch, free, summed) letters."""
    both = [c for c in a if c in b]
    batch, summed = [c for c in both if c in needed], [c for c in both if c not in needed]
    rows, columns = [c for c in a if c not in b], [c for c in b if c not in a]
    sizes = dict(zip(a + b, x.shape + y.shape))

    def count(letters: list[str]) -> int:
        total = 1
        for c in letters:
            total *= sizes[c]
        return total

    xm = x.permute(*(a.index(c) for c in batch + rows + summed)).reshape(count(batch), count(rows), count(summed))
    ym = y.permute(*(b.index(c) for c in batch + summed + columns)).reshape(count(batch), count(summed), count(columns))
    letters = batch + rows + columns
    return "".join(letters), xm.matmul(ym).reshape(tuple(sizes[c] for c in letters))
