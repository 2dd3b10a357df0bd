"""Several GPUs, what `tf.cuda` says of them, the default device: on the stand-in for CuPy, made to have two."""

import functools
import sys
from unittest import mock

import numpy as np
import pytest

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend, optim
from tinygrad_fast.backend import cuda
from tinygrad_fast.data import DataLoader, DataLoaders, TensorDataset
from tinygrad_fast.learner import Learner

from . import like_cuda, like_cupy


@pytest.fixture
def gpus(monkeypatch, request):
    """As many GPUs as the test's parameter says; by default two."""
    monkeypatch.setattr(like_cuda, "COUNT", getattr(request, "param", 2))
    before = dict(backend._made)
    with like_cupy.installed():
        yield
    backend._made.clear()
    backend._made.update(before)
    like_cuda.Device(0).use()
    tf.cuda._most_reserved.clear(), tf.cuda._peaks.clear()
    for hook in tf.cuda._watching:
        hook.__exit__()
    tf.cuda._watching.clear()


def test_a_name_means_one_gpu(gpus):
    x = tf.tensor([1.0, 2.0])
    near, far = x.cuda(), x.cuda(1)
    assert near.device == "cuda:0" and near.device.type == "cuda" and near.device.index == 0
    assert far.device == "cuda:1" and "device='cuda:1'" in repr(far)
    assert near.to("cuda:0") is near and x.to("cuda").xp is near.xp and near.to(far).device == "cuda:1"
    assert x.cuda("cuda:1").xp is x.to("cuda:1").xp is far.xp
    with pytest.raises(RuntimeError, match=r"add: all tensors must be on one device; got cuda:0 and cuda:1. Move one"):
        near + far
    assert (near + far.to("cuda")).tolist() == (near.to("cuda:1") + far).cpu().tolist() == [2, 4]


def test_what_is_set_of_a_gpu_it_knows(gpus):
    xp = tf.ones(1, device="cuda:1").xp
    xp.poisoned, xp.rung = True, "matmul_naive"
    assert xp._machine.poisoned and xp._machine.rung == "matmul_naive"
    assert not tf.ones(1, device="cuda:0").xp.poisoned


@pytest.mark.parametrize("name", ["cuda:2", "cuda:-1", "cuda:x", "cuda:"])
def test_a_gpu_that_is_not_there(gpus, name):
    with pytest.raises(RuntimeError, match=f"device '{name}': there are 2 GPUs, cuda:0 to cuda:1"):
        tf.ones(1, device=name)


@pytest.mark.parametrize("gpus", [1], indirect=True)
def test_one_gpu_pays_for_no_other(gpus):
    assert type(tf.ones(1, device="cuda").xp) is cuda.CUDA
    with pytest.raises(RuntimeError, match="device 'cuda:1': there is one GPU, cuda:0"):
        tf.ones(1, device="cuda:1")


def test_everything_runs_where_the_arrays_lie(gpus):
    """The stand-in refuses an array of one GPU where another is current: forward, backward, step, indices, printing."""
    w = tf.rand(3, 4).to("cuda:1").requires_grad_()
    x, t = tf.rand(5, 4).to("cuda:1"), tf.tensor([0, 1, 2, 1, 0]).to("cuda:1")
    loss = F.cross_entropy(F.linear(x, w), t)
    loss.backward()
    optim.AdamW([w], lr=0.1).step()
    assert w.device == w.grad.device == "cuda:1" and np.isfinite(loss.item()) and tf.cuda.current_device() == 0
    assert w[tf.tensor([0, 2]).to("cuda:1")].shape == (2, 4) and repr(w)
    assert w.data.device.id == w.grad.data.device.id == 1
    with pytest.raises(IndexError, match="Found on cuda:1 by an earlier launch"):
        F.cross_entropy(x, t + 9).item()


def test_gradients_pass_from_one_gpu_to_another(gpus):
    w = tf.tensor([1.0, 2.0]).to("cuda:1").requires_grad_()
    y = (w * w).to("cuda:0")
    ((y * y).sum() + y.sum()).cpu().backward()
    assert w.grad.tolist() == [4 + 2, 32 + 4] and w.grad.device == "cuda:1"


PAIRS = [("cpu", "cuda:0"), ("cuda:1", "cpu"), ("cuda:0", "cuda:1"), ("cuda:1", "cuda:1")]


@pytest.mark.parametrize("here, there", PAIRS)
def test_what_is_written_goes_where_it_is_written_to(gpus, here, there):
    x, y = tf.arange(6.0).reshape(2, 3).to(here), tf.zeros(2, 3).to(there)
    assert y.copy_(x).device == there and y.tolist() == x.tolist()
    y[:, 1:] = x[:, :2] * 2
    y[tf.tensor([1]), 0] = x[0, 2]  # an index lies on the CPU, or with y
    y[y == 8] = -x[0, :1]
    assert y.tolist() == [[0, 0, 2], [2, 6, 0]] and y.device == there and x.tolist() == [[0, 1, 2], [3, 4, 5]]
    w = tf.ones(2, 3).to(there).requires_grad_()
    with tf.no_grad():
        assert w.copy_(x).tolist() == x.tolist()


def test_an_index_lies_on_the_cpu_or_with_the_tensor(gpus):
    x, near = tf.arange(6.0).reshape(2, 3), tf.tensor([-1, 0])
    far = x.to("cuda:1")
    assert far[near].tolist() == far[near.to("cuda:1")].tolist() == x[near].tolist() and far[:, near].device == "cuda:1"
    with pytest.raises(IndexError, match="for an axis of 2; got 2$"):  # the host has looked
        far[tf.tensor([2])]
    elsewhere = near.to("cuda:0")
    for a in (x, far):
        said = f"index: an index lies on the CPU, or with .* got one on cuda:0 for a tensor on {a.device}"
        with pytest.raises(RuntimeError, match=said):
            a[elsewhere]
        with pytest.raises(RuntimeError, match=said):
            a[elsewhere] = 0.0
    with pytest.raises(RuntimeError, match="mul: all tensors must be on one device"):
        far * tf.tensor(2.0)  # PyTorch takes one number from the CPU


def test_memory_order_travels(gpus):
    x = tf.tensor(np.arange(24.0).reshape(1, 2, 3, 4)).permute(0, 3, 1, 2)
    assert x.cuda().data.strides == x.data.strides and x.cuda().tolist() == x.tolist()


def test_from_one_gpu_to_another_nobody_waits(gpus):
    x = tf.tensor(np.arange(24.0).reshape(1, 2, 3, 4)).to("cuda:1")
    waits = like_cuda.waits.copy()
    far = (x * 2).permute(0, 3, 1, 2)
    y, part = far.to("cuda:0"), x[:, :, 1:, ::2].to("cuda:0")
    assert like_cuda.waits == waits and y.device == "cuda:0" and y.data.strides == far.data.strides
    assert y.tolist() == far.tolist() and part.tolist() == x[:, :, 1:, ::2].tolist()
    assert tf.zeros(0, 3, device="cuda:1").to("cuda:0").tolist() == [] and x.sum().to("cuda:0").item() == 276


@pytest.mark.parametrize(
    "forgotten, said", [("1 for 0", "may still be writing"), ("0 for 1", "another GPU may still be reading")]
)
def test_the_stand_in_sees_a_gpu_that_does_not_wait(gpus, monkeypatch, forgotten, said):
    waits = like_cuda.Stream.wait_event

    def wait_event(stream, event):
        if f"{event.device} for {like_cuda.device_now()}" != forgotten:
            waits(stream, event)

    monkeypatch.setattr(like_cuda.Stream, "wait_event", wait_event)
    x = tf.ones(3, device="cuda:1") * 2
    with pytest.raises(AssertionError, match=said):
        x.to("cuda:0")
        x * 2
    like_cuda._lent.clear()


def test_a_fault_on_one_gpu_is_told_where_its_array_went(gpus):
    x, index = tf.rand(2, 3).to("cuda:1"), tf.tensor([0, 9]).to("cuda:1")
    y = x[index].to("cuda:0").sum()
    with pytest.raises(IndexError, match=r"got 9.*Found on cuda:1 by an earlier launch"):
        y.item()
    y.item()  # once
    assert y.to("cuda:1").to("cuda:0").item() == y.item()  # each tells what the other found


# tf.cuda


def test_what_there_is(gpus):
    assert tf.cuda.is_available() and tf.cuda.device_count() == 2 and tf.cuda.current_device() == 0
    assert tf.cuda.get_device_name("cuda:1") == "H100" and tf.cuda.get_device_capability() == (9, 0)
    tf.cuda.set_device(1)
    assert tf.ones(1, device="cuda").device == "cuda:1" and tf.cuda.current_device() == 1
    waits = like_cuda.waits.copy()
    tf.cuda.synchronize(0)
    assert (like_cuda.waits - waits) == {"Device.synchronize": 1}
    with pytest.raises(RuntimeError, match="'cuda:7': there are 2 GPUs"):
        tf.cuda.get_device_name(7)
    with pytest.raises(ValueError, match='a device is a number, "cuda" or "cuda:1"; got \'cpu\''):
        tf.cuda.synchronize("cpu")


def test_memory(gpus):
    before, elsewhere = tf.cuda.memory_allocated(), tf.cuda.memory_allocated(1)
    x = tf.zeros(1000, device="cuda")
    assert tf.cuda.memory_allocated() - before == 4096 and tf.cuda.memory_allocated(x.device) - before == 4096
    assert tf.cuda.memory_allocated(1) == elsewhere
    assert tf.cuda.max_memory_allocated() == tf.cuda.max_memory_reserved() >= tf.cuda.memory_allocated()  # not counted
    del x
    stats = tf.cuda.memory_stats()
    assert stats["allocated"] == before and stats["cached"] == tf.cuda.memory_reserved() - before >= 4096
    tf.cuda.empty_cache()
    assert tf.cuda.memory_reserved() == before and tf.cuda.max_memory_reserved() >= before + 4096
    free, total = tf.cuda.mem_get_info()
    assert total - free == tf.cuda.memory_reserved()
    assert set(stats) <= set(tf.cpu.memory_stats())


def test_the_most_memory(gpus):
    tf.cuda.reset_peak_memory_stats()
    before = tf.cuda.memory_allocated()
    x = tf.zeros(1000, device="cuda")
    y = x + 1
    del x, y
    z = tf.zeros(200, device="cuda")
    assert tf.cuda.max_memory_allocated() == tf.cuda.memory_stats()["peak"] == before + 2 * 4096
    assert tf.cuda.memory_allocated() == before + 1024
    tf.cuda.reset_peak_memory_stats()
    assert tf.cuda.max_memory_allocated() == before + 1024
    del z


def test_without_a_gpu():
    """Questions have answers, and what needs a GPU says how to get one."""
    with mock.patch.dict(sys.modules, {"cupy": None}):
        cuda.why_not.cache_clear()
        try:
            assert not tf.cuda.is_available() and tf.cuda.device_count() == 0
            assert tf.cuda.memory_stats() == {"allocated": 0, "peak": 0, "cached": 0}
            assert tf.cuda.mem_get_info() == (0, 0)
            tf.cuda.empty_cache(), tf.cuda.reset_peak_memory_stats(), tf.cuda.synchronize()
            for ask in (tf.cuda.current_device, tf.cuda.get_device_name):
                with pytest.raises(RuntimeError, match="CuPy is not installed.*doctor"):
                    ask()
            with pytest.raises(RuntimeError, match="CuPy is not installed.*doctor"):
                tf.set_default_device("cuda")
            assert tf.get_default_device() == "cpu"
        finally:
            cuda.why_not.cache_clear()


# The default device


@pytest.fixture
def default(request):
    tf.set_default_device(request.param)
    yield request.param
    tf.set_default_device(None)


@pytest.mark.parametrize("default", ["emulated"], indirect=True)
def test_tensors_are_made_there(default):
    assert tf.get_default_device() == "emulated" and isinstance(tf.get_default_device(), tf.device)
    made = [tf.ones(2), tf.tensor([1.0]), tf.rand(2), tf.arange(3), tf.as_tensor([1]), tf.as_tensor(np.ones(2))]
    made += [tf.Tensor(2.0), tf.eye(2), tf.nn.Linear(2, 3).weight, tf.ones(2, requires_grad=True)]
    assert {t.device for t in made} == {"emulated"}
    cpu = tf.ones(2, device="cpu")
    assert {t.device for t in (cpu, tf.from_numpy(np.ones(2)), tf.tensor(cpu), tf.ones_like(cpu))} == {"cpu"}


def test_the_default_may_be_a_gpu(gpus):
    tf.set_default_device("cuda")
    try:
        assert tf.ones(1).device == tf.get_default_device() == "cuda:0"
    finally:
        tf.set_default_device(None)
    assert tf.ones(1).device == "cpu"


@pytest.mark.parametrize("default", ["emulated"], indirect=True)
def test_a_learner_goes_there(default):
    x = np.random.default_rng(0).standard_normal((16, 4)).astype(np.float32)
    data = TensorDataset(x, (x.sum(1) > 0).astype(np.int64))
    model = tf.nn.Linear(4, 2).to("cpu")
    learn = Learner(DataLoaders.from_dsets(data, data, bs=8), model, F.cross_entropy)
    with learn.no_bar():
        learn.fit(1)
    assert model.weight.device == "emulated" and learn.recorder.losses


def test_a_model_goes_where_its_batches_go(gpus):
    data = TensorDataset(np.ones((16, 4), np.float32), np.zeros(16, np.int64))
    model = tf.nn.Linear(4, 2)
    dls = DataLoaders(DataLoader(data, 8, device="cuda:1"), DataLoader(data, 8, device="cuda:1"))
    learn = Learner(dls, model, F.cross_entropy)
    with learn.no_bar():
        learn.fit(1)
    assert model.weight.device == "cuda:1"


WORDS = {  # of CuPy, that the framework uses
    "cuda.Device": "id use synchronize __enter__ __exit__",
    "cuda.Stream": "record wait_event __enter__ __exit__",
    "cuda.Event": "done",
    "cuda.MemoryHook": "malloc_postprocess free_postprocess __enter__ __exit__",
    "cuda.MemoryPool": "used_bytes total_bytes free_bytes free_all_blocks",
    "cuda.PinnedMemoryPool": "free_all_blocks",
    "cuda.runtime": "driverGetVersion runtimeGetVersion getDeviceCount getDevice getDeviceProperties memGetInfo",
    "cuda.nvrtc": "getVersion getSupportedArchs",
    "cuda": "is_available get_current_stream",
    "cuda.MemoryPointer": "ptr device",
    "ndarray": "set tolist copy data device flags base",
}


@pytest.mark.skipif(not like_cupy.real, reason="CuPy is not installed; its import needs no GPU")
def test_the_stand_in_has_no_words_of_its_own():
    import cupyx

    for place, words in WORDS.items():
        found = functools.reduce(getattr, place.split("."), like_cupy.real)
        assert not [word for word in words.split() if not hasattr(found, word)], place
    pools = like_cupy.real.get_default_memory_pool(), like_cupy.real.get_default_pinned_memory_pool()
    assert [type(pool).__name__ for pool in pools] == ["MemoryPool", "PinnedMemoryPool"] and cupyx.empty_pinned
