"""Saving and loading: bit for bit, all or nothing, and what is said of files that are not ours."""

import json
import os
import pickle
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import tinygrad_fast as tf

SAFE_TYPES = ["float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]


def same(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    assert a.numpy().tobytes() == b.numpy().tobytes()


@pytest.mark.parametrize("dtype", SAFE_TYPES)
def test_every_dtype_bit_for_bit(dtype, tmp_path):
    t = tf.tensor(np.random.default_rng(0).normal(size=(3, 5)) * 10).to(dtype=dtype)
    tf.save({"t": t, "empty": t[:0], "scalar": t[0, 0]}, tmp_path / "t.safetensors")
    loaded = tf.load(tmp_path / "t.safetensors")
    for name, value in {"t": t, "empty": t[:0], "scalar": t[0, 0]}.items():
        same(loaded[name], value)
    assert not loaded["t"].requires_grad
    loaded["t"][0] = 1  # writable


def test_memory_order_does_not_matter(tmp_path):
    a = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    t = tf.from_numpy(a.transpose(2, 0, 1))
    tf.save([t, tf.from_numpy(a[:, ::-1])], tmp_path / "t.safetensors")
    first, second = tf.load(tmp_path / "t.safetensors")
    assert np.array_equal(first.numpy(), a.transpose(2, 0, 1))
    assert np.array_equal(second.numpy(), a[:, ::-1])


def test_tree_around_the_tensors(tmp_path):
    p = tf.tensor([1.0, 2.0], requires_grad=True)
    p.grad = tf.tensor([0.5, 0.25])
    opt = tf.optim.AdamW([p], lr=0.1)
    opt.step()
    obj = {
        "model": {"fc.weight": p, "": tf.ones(1)},
        "opt": opt.state_dict(),
        "epoch": 3,
        "loss": float("inf"),
        "digits": 0.1 + 0.2,
        "names": ["a", None, True, ("b", 2.5)],
        1: {"a.b": tf.zeros(1), "a": {"b": tf.ones(2)}},
    }
    tf.save(obj, tmp_path / "all.safetensors")
    loaded = tf.load(tmp_path / "all.safetensors")
    assert list(loaded) == list(obj)
    same(loaded["model"]["fc.weight"], p.detach())
    same(loaded["model"][""], tf.ones(1))
    same(loaded[1]["a.b"], tf.zeros(1))
    same(loaded[1]["a"]["b"], tf.ones(2))
    for name in ("epoch", "loss", "digits", "names"):
        assert loaded[name] == obj[name] and type(loaded[name]) is type(obj[name])
    q = tf.tensor([1.0, 2.0], requires_grad=True)
    again = tf.optim.AdamW([q], lr=5.0)
    again.load_state_dict(loaded["opt"])
    assert again.param_groups[0]["betas"] == (0.9, 0.999)
    same(again.state[0]["exp_avg"], opt.state[0]["exp_avg"])


def test_a_tensor_alone(tmp_path):
    tf.save(tf.arange(3), tmp_path / "t")
    assert tf.load(str(tmp_path / "t")).tolist() == [0, 1, 2]


def test_others_read_it_and_we_read_others(tmp_path):
    numpy_side = pytest.importorskip("safetensors.numpy")
    tf.save({"a.weight": tf.ones(2, 3)}, tmp_path / "ours.safetensors")
    assert numpy_side.load_file(tmp_path / "ours.safetensors")["a.weight"].tolist() == [[1.0] * 3] * 2
    numpy_side.save_file({"b": np.arange(4)}, tmp_path / "theirs.safetensors", metadata={"format": "np"})
    loaded = tf.load(tmp_path / "theirs.safetensors")
    assert list(loaded) == ["b"] and loaded["b"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        ({"a": {"f": print}}, "got builtin_function_or_method at a.f. Save a model as model.state_dict()"),
        (np.ones(2), "got ndarray at the top"),
        ([{1.5: 0}], "keys must be strings or integers; got 1.5 at 0"),
        ({True: 0}, "keys must be strings or integers; got True at the top"),
    ],
)
def test_what_cannot_be_saved(obj, text, tmp_path):
    with pytest.raises(TypeError, match=re.escape(text)):
        tf.save(obj, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"save: the folder .*nowhere does not exist; make it first"):
        tf.save({}, tmp_path / "nowhere" / "x")
    with pytest.raises(FileNotFoundError):
        tf.load(tmp_path / "nowhere")


@pytest.mark.parametrize("fails", ["replace", "fsync"])
def test_interrupted_save_leaves_the_old_file(fails, tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    tf.save({"w": tf.ones(3)}, path)

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(os, fails, stop)
        with pytest.raises(KeyboardInterrupt):
            tf.save({"w": tf.zeros(3)}, path)
    assert tf.load(path)["w"].tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.skipif(os.name != "posix", reason="kills a process by signal")
def test_killed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "w.safetensors"
    tf.save({"w": tf.ones(3)}, path)
    code = (
        "import os, signal, sys, tinygrad_fast as tf\n"
        "os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)\n"
        "tf.save({'w': tf.zeros(100000)}, sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -9
    assert tf.load(path)["w"].tolist() == [1, 1, 1]
    tf.save({"w": tf.zeros(1)}, path)
    assert tf.load(path)["w"].tolist() == [0]


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    tf.save({}, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").is_file()


def whole(tmp_path):
    tf.save({"w": tf.ones(8)}, tmp_path / "whole")
    return (tmp_path / "whole").read_bytes()


def test_cut_short(tmp_path):
    data = whole(tmp_path)
    path = tmp_path / "w.safetensors"
    path.write_bytes(data[:-1])
    with pytest.raises(
        ValueError, match=rf"w\.safetensors is cut short .* must have {len(data)} bytes; got {len(data) - 1}"
    ):
        tf.load(path)
    path.write_bytes(data[:40])
    with pytest.raises(ValueError, match=r"w\.safetensors is cut short or damaged: its header of .* got 40 bytes"):
        tf.load(path)
    path.write_bytes(data + b"x")
    with pytest.raises(ValueError, match=f"must have {len(data)} bytes; got {len(data) + 1}"):
        tf.load(path)


def test_every_cut_is_found(tmp_path):
    data = whole(tmp_path)
    path = tmp_path / "w"
    for n in range(len(data)):
        path.write_bytes(data[:n])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            tf.load(path)


def test_foreign_files(tmp_path):
    path = tmp_path / "w"
    for content, text in [
        (b"", "is empty"),
        (b"hello, this is no weight file", "is not a safetensors file"),
        (pickle.dumps({"w": 1}), "is a PyTorch or pickle file, which may run code; convert it to safetensors"),
        ((1 << 60).to_bytes(8, "little") + b"{" + b" " * 100, "its header of 1,152,921,504,606,846,976 bytes is not"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(text)):
            tf.load(path)
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("archive/data.pkl", "x")
    with pytest.raises(ValueError, match="is a PyTorch or pickle file"):
        tf.load(path)


def test_a_type_that_has_no_place_here(tmp_path):
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(ValueError, match=r"'w' is of type F8_E4M3; known are F64, F32"):
        tf.load(tmp_path / "w")


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    tf.save({}, tmp_path / "w")
    assert (tmp_path / "w").stat().st_mode == (tmp_path / "plain").stat().st_mode
