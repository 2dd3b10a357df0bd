"""A trained Learner as a file that predicts: what `Learner.export` writes and `load_learner` reads.

Predicting takes the model, the loss (what makes probabilities and an answer of outputs), and the transforms of
validation. All of them are objects with attributes, so an object is written as the name of its class and its
attributes, and no class has to say how it is saved. Tensors, numbers and texts go as `checkpoint.py` saves them. Items,
optimiser, callbacks and functions such as get_y stay behind.

Reading runs nothing that stands in the file: a class is found by its name among those that the program knows, must be a
Module, a Transform, a Loss or a Vocab, and is not called; its attributes are put in their places, never in that of a
method. A function is one of nn.functional.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from types import FunctionType
from typing import Any

import numpy as np

from .. import dtypes, nn
from ..backend.windows import inverse, memory_order
from ..creation import from_numpy
from ..data import DataLoader, DataLoaders, Datasets, TensorDataset, Transform
from ..data.labels import Vocab
from ..data.transforms import Func
from ..tensor import Tensor
from .losses import Loss

FORMAT = 1  # of the file; a later one is refused
KNOWN = (nn.Module, Transform, Loss, Vocab)
OURS = __name__.partition(".")[0]
FUNCTIONS = f"{OURS}.nn.functional"  # whose functions a file may name: they compute, and touch nothing else


def exported(learn: Any) -> dict[str, Any]:
    """What predicting takes, as `checkpoint.save` saves it. Raises TypeError for what cannot be written, and where."""
    valid: Any = learn.dls.valid
    data = getattr(valid, "dataset", None)
    found: dict[str, Any] = {"model": learn.model, "loss_func": learn.loss_func}
    if isinstance(data, Datasets):
        found["types"] = [[t for t in p.tfms if not isinstance(t, Func)] for p in data.pipelines]
    elif isinstance(data, TensorDataset):
        found["arrays"] = [t[:0] for t in data.tensors]
    else:
        raise TypeError(
            "export: the loaders must be of Datasets (as a DataBlock makes) or a TensorDataset; got "
            f"{type(data).__name__}. Write learn.save, and make the Learner anew where it is loaded"
        )
    found |= {"kinds": valid.kinds, "n_inp": valid.n_inp, "bs": valid.bs}
    found |= {"before_batch": valid.before_batch, "collate_fn": valid.collate_fn}
    found |= {"items": valid.after_item.tfms, "batches": valid.after_batch.tfms}
    return {"export": FORMAT, "learner": Packer()(found, "learner")}


def restored(saved: Any, path: str) -> tuple[DataLoaders, nn.Module, Any]:
    """Loaders without items, the model and the loss. Raises ValueError for another file, or a class nobody knows."""
    if not isinstance(saved, dict) or "export" not in saved:
        raise ValueError(f"load_learner: {path} is not of learn.export; what learn.save wrote is for learn.load")
    if saved["export"] != FORMAT:
        raise ValueError(
            f"load_learner: {path} is of format {saved['export']}, and this version reads {FORMAT}; take the version "
            "that wrote it"
        )
    try:
        found = Unpacker(path)(saved["learner"])
        types, stages = found.get("types"), dict(after_item=found["items"], after_batch=found["batches"])
        stages |= {name: found[name] for name in ("bs", "kinds", "before_batch", "collate_fn")}
        kinds, n_inp, model, loss_func = (found[name] for name in ("kinds", "n_inp", "model", "loss_func"))
        arrays = found["arrays"] if types is None else []
    except (KeyError, TypeError, IndexError, AttributeError) as e:
        raise ValueError(f"load_learner: {path} is not as learn.export writes it: {type(e).__name__}: {e}") from None
    for t in (t for tfms in types or () for t in tfms):
        t.learns = False  # it has
    data: Any = TensorDataset(*arrays) if types is None else Datasets([], types, kinds=kinds, n_inp=n_inp)
    loader = DataLoader(data, **stages)
    return DataLoaders(loader, loader), model, loss_func


def hides(cls: type, attributes: Iterable[str]) -> str | None:
    """The first attribute in the place of a method: it would be called."""
    return next((name for name in attributes if callable(getattr(cls, name, None))), None)


class Packer:
    """Objects as {"is": what, ...}; what is met again, as a reference to where it was met first."""

    def __init__(self) -> None:
        self.met: dict[int, int] = {}
        self.kept: list[Any] = []  # so that no id is given twice

    def __call__(self, x: Any, place: str) -> Any:
        if x is None or isinstance(x, (bool, int, float, str)):
            return x
        if isinstance(x, np.generic):
            return x.item()
        if type(x) in (list, tuple):
            return type(x)(self(v, f"{place}[{i}]") for i, v in enumerate(x))
        if type(x) is dict:
            return {"is": "dict", "of": [[self(k, place), self(v, f"{place}[{k!r}]")] for k, v in x.items()]}
        if id(x) in self.met:
            return {"is": "again", "number": self.met[id(x)]}
        self.met[id(x)] = len(self.kept)
        self.kept.append(x)
        return self.once(x, place)

    def once(self, x: Any, place: str) -> dict[str, Any]:
        """A Tensor, an array, a dtype, a function of nn.functional, or an object of a known class."""
        if isinstance(x, Tensor):
            kind = "parameter" if isinstance(x, nn.Parameter) else "tensor"
            return {"is": kind, "of": x.detach(), "order": memory_order(x.data)} | {"requires_grad": x.requires_grad}
        if isinstance(x, np.ndarray):
            return {"is": "array", "of": from_numpy(np.ascontiguousarray(x))}
        if isinstance(x, np.dtype):
            return {"is": "dtype", "of": x.name}
        if isinstance(x, FunctionType) and x.__module__.startswith(FUNCTIONS) and "<" not in x.__qualname__:
            return {"is": "function", "of": f"{x.__module__}:{x.__qualname__}"}
        if isinstance(x, KNOWN) and "<" not in type(x).__qualname__:
            if hidden := hides(type(x), vars(x)):
                raise TypeError(f"export: {place}.{hidden} hides a method of its class; write a class that has another")
            inside = {name: self(v, f"{place}.{name}") for name, v in vars(x).items()}
            items = {"items": self(list(x), place)} if isinstance(x, list) else {}
            return {"is": "object", "of": f"{type(x).__module__}:{type(x).__qualname__}", "with": inside} | items
        what = getattr(x, "__qualname__", None) or f"a {type(x).__qualname__}"
        raise TypeError(
            f"export: {place} is {what}; what can be written are numbers, texts, Tensors, and Modules, Transforms and "
            "losses whose classes stand at the top of a module. Make it a Transform or a Module, or take it out"
        )


class Unpacker:
    """The way back."""

    def __init__(self, path: str):
        self.path = path
        self.met: list[Any] = []

    def __call__(self, x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return type(x)(map(self, x))
        if not isinstance(x, dict):
            return x
        if x["is"] == "dict":
            return {self(k): self(v) for k, v in x["of"]}
        if x["is"] == "again":
            return self.met[x["number"]]
        self.met.append(None)
        return self.once(x, len(self.met) - 1)

    def once(self, x: dict[str, Any], number: int) -> Any:
        kind, of = x["is"], x["of"]
        if kind == "object":
            cls = self.named(of)
            if not (isinstance(cls, type) and issubclass(cls, KNOWN)):
                raise ValueError(f"load_learner: {self.path} names {of}, which is no class that it may hold")
            if hidden := hides(cls, x["with"]):
                raise ValueError(f"load_learner: {self.path} puts something in the place of {of}.{hidden}, a method")
            found: Any = cls.__new__(cls)
            self.met[number] = found
            if "items" in x:
                found[:] = self(x["items"])
            vars(found).update({name: self(v) for name, v in x["with"].items()})
            return found
        if kind == "function":
            found = self.named(of)
            if not (isinstance(found, FunctionType) and found.__module__.startswith(FUNCTIONS)):
                raise ValueError(f"load_learner: {self.path} names {of}, which is no function of {FUNCTIONS}")
        elif kind == "dtype":
            found = dtypes.dtype_of(of)
        elif kind == "array":
            found = of.numpy()
        else:  # a weight lies in memory as it did: a convolution need not turn it at each call
            order = x["order"]
            found = from_numpy(np.ascontiguousarray(of.numpy().transpose(*order)).transpose(*inverse(order)))
            found = nn.Parameter(found, x["requires_grad"]) if kind == "parameter" else found
        self.met[number] = found
        return found

    def named(self, name: str) -> Any:
        """A class or a function by "module:name"; modules of this package are imported, others must have been."""
        module, _, inside = name.partition(":")
        try:
            found: Any = import_module(module) if module.partition(".")[0] == OURS else sys.modules[module]
            for part in inside.split("."):
                found = getattr(found, part)
        except (ImportError, KeyError, AttributeError):
            raise ValueError(
                f"load_learner: {self.path} needs {inside} of {module}, which is not there. Import it first"
            ) from None
        return found
