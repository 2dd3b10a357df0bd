"""Saving and loading: `tf.save(model.state_dict(), path)`, `tf.load(path)`. One safetensors file, no pickle anywhere.

A safetensors file is a JSON header (names, types, shapes, places) and then the bytes of the tensors: other programs
read it, and loading it runs no code. The tree around the tensors (dicts, lists, numbers, strings) goes into the
header's metadata as JSON; a file without it, written elsewhere, loads as a flat dict of Tensors.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from . import dtypes
from .creation import from_numpy
from .tensor import Tensor

KEY = "tinygrad_fast"  # the metadata entry that holds the tree
TYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8"},
    **{"U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8"},
}


def save(obj: Any, path: str | os.PathLike) -> None:
    """Write `obj` to a safetensors file: Tensors, numbers, strings, None, and dicts, lists and tuples of them.

    The keys of dicts are strings or integers. The file is written beside `path` and then renamed, so whatever
    interrupts it, `path` holds the old file or the new one. Raises TypeError for what cannot be saved, naming its place
    in obj, and FileNotFoundError for a missing folder.
    """
    from safetensors.numpy import save as to_bytes

    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_packed(obj, "", tensors))
    arrays = {name: np.asarray(t.xp.to_numpy(t.data), order="C") for name, t in tensors.items()}
    path = Path(os.path.realpath(path))  # a link stays a link
    if not path.parent.is_dir():
        raise FileNotFoundError(f"save: the folder {path.parent} does not exist; make it first")
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(beside, "xb") as f:
            f.write(to_bytes(arrays, metadata={KEY: tree}))
            f.flush()
            os.fsync(f.fileno())  # on the disk before it has the name
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load(path: str | os.PathLike, device: Any = None) -> Any:
    """What `save` wrote, its Tensors on `device` (default: the CPU); any other safetensors file as {name: Tensor}.

    Raises FileNotFoundError, and ValueError for a file that is cut short, of another format, or of a type that has no
    place here.
    """
    import safetensors

    path = Path(path)
    data = path.read_bytes()
    try:
        found = safetensors.deserialize(data)
    except safetensors.SafetensorError as e:
        raise ValueError(f"load: {path} {_diagnosis(data)} ({e})") from None
    tensors = {}
    for name, entry in found:
        if entry["dtype"] not in TYPES:
            raise ValueError(f"load: {path}: {name!r} is of type {entry['dtype']}; known are {', '.join(TYPES)}")
        array = np.frombuffer(bytearray(entry["data"]), dtypes.dtype_of(TYPES[entry["dtype"]]))
        t = from_numpy(array.reshape(entry["shape"]))
        tensors[name] = t if device is None else t.to(device=device)
    tree = json.loads(data[8 : 8 + _header(data)]).get("__metadata__", {}).get(KEY)
    return tensors if tree is None else _unpacked(json.loads(tree), tensors)


def _header(data: bytes) -> int:
    """The length of the JSON header: the first 8 bytes."""
    return int.from_bytes(data[:8], "little")


def _diagnosis(data: bytes) -> str:
    if not data:
        return "is empty; it was never written, or its disk was full"
    if data[:2] == b"PK" or data[:1] == b"\x80":
        return "is a PyTorch or pickle file, which may run code; convert it to safetensors where it was made"
    if data[8:9] != b"{":
        return "is not a safetensors file"
    try:
        spans = [v["data_offsets"][1] for k, v in json.loads(data[8 : 8 + _header(data)]).items() if k[:2] != "__"]
    except ValueError:
        return f"is cut short or damaged: its header of {_header(data):,} bytes is not whole; got {len(data):,} bytes"
    whole = 8 + _header(data) + max(spans, default=0)
    return f"is cut short or damaged: it must have {whole:,} bytes; got {len(data):,}"


def _packed(obj: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """`obj` as JSON, its Tensors put into `tensors` under their dotted place. Containers become {kind: content}."""
    if isinstance(obj, Tensor):
        name = place or "tensor"
        while name in tensors:
            name += "'"  # {"a.b": x, "a": {"b": y}} are two places of one name
        tensors[name] = obj
        return {"tensor": name}
    if isinstance(obj, dict):
        for key in obj:
            if type(key) not in (str, int):
                raise TypeError(f"save: keys must be strings or integers; got {key!r} at {place or 'the top'}")
        return {"dict": [[key, _packed(v, f"{place}.{key}" if place else f"{key}", tensors)] for key, v in obj.items()]}
    if isinstance(obj, (list, tuple)):
        items = [_packed(v, f"{place}.{i}" if place else f"{i}", tensors) for i, v in enumerate(obj)]
        return {"list" if isinstance(obj, list) else "tuple": items}
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    raise TypeError(
        "save: holds Tensors, numbers, strings, None, dicts, lists and tuples; "
        f"got {type(obj).__name__} at {place or 'the top'}. Save a model as model.state_dict()"
    )


def _unpacked(node: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_packed`."""
    if not isinstance(node, dict):
        return node
    [(kind, content)] = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpacked(v, tensors) for key, v in content}
    items = [_unpacked(v, tensors) for v in content]
    return items if kind == "list" else tuple(items)
