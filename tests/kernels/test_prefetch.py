"""Batches that travel while the GPU works, on a stand-in whose copies run when somebody waits for them and not before.

Who waits too little is found by the numbers; each wait is taken out once here, and must be missed.
"""

import threading

import numpy as np
import pytest

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend, optim
from tinygrad_fast.backend.transfer import Transfer
from tinygrad_fast.data import DataLoader, DataLoaders, Dataset, TensorDataset
from tinygrad_fast.learner import Learner, accuracy

from . import like_cuda
from .test_devices import gpus as gpus

N, BS = 40, 8
X, T = np.random.default_rng(0).standard_normal((N, 3, 4, 4)).astype(np.float32), np.arange(N) % 3


class Pictures(Dataset):
    """H W C in memory, as decoded images are, and a text beside each."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return X[i].transpose(1, 2, 0).copy().transpose(2, 0, 1), int(T[i]), f"item {i}"


def wrong(batches):
    """Which batches of an epoch are not what they should be; each is read while the next is under way."""
    bad, b = [], -1
    for b, (x, t, *texts) in enumerate(batches):
        at = slice(b * BS, (b + 1) * BS)
        same = x.tolist() == X[at].tolist() and t.tolist() == T[at].tolist()
        bad += [] if same and texts in ([], [[f"item {i}" for i in range(N)[at]]]) else [b]
    assert b == N // BS - 1
    return bad


@pytest.mark.parametrize("num_workers", [0, 3])
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_the_batches_are_right(gpus, device, num_workers):
    loader = DataLoader(Pictures(), BS, num_workers=num_workers, device=device)
    assert wrong(loader) == wrong(loader) == []
    x = next(iter(loader))[0]
    assert x.device == ("cuda:0" if device == "cuda" else device)
    assert x.data.strides[1] == x.data.itemsize, "channels-last memory arrives as such"


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_tensors_of_the_host_and_of_the_gpu(gpus, device):
    assert wrong(DataLoader(TensorDataset(X, T), BS, device=device)) == []
    there = TensorDataset(tf.tensor(X).to(device), tf.tensor(T).to(device))
    assert wrong(DataLoader(there, BS, device=device)) == []


def test_batches_that_are_kept(gpus):
    """Nothing that somebody still holds is written over."""
    assert wrong(list(DataLoader(TensorDataset(X, T), BS, device="cuda"))) == []


def test_a_step_waits_for_nothing(gpus):
    """The host goes on while copies are under way, and takes its next page-locked buffer while the last is read."""
    w = tf.rand(3, 48).to("cuda").requires_grad_()
    loader = iter(DataLoader(TensorDataset(X, T), BS, device="cuda"))
    next(loader)
    before = like_cuda.waits.copy()
    for x, t in loader:
        F.cross_entropy(F.linear(x.reshape(BS, 48), w), t).backward()
    assert not like_cuda.waits - before
    transfer = backend.get("cuda").transfer
    assert len(transfer._under_way) <= 2, "page-locked memory is given back as copies end"


def test_a_learner_waits_where_it_shows_a_number(gpus):
    """An epoch of 5 batches and one of 50 make the host wait as often, but for the optimiser's numbers."""

    def waits(copies):
        data = TensorDataset(np.repeat(X.reshape(N, 48), copies, 0), np.repeat(T, copies))
        dls = DataLoaders(DataLoader(data, BS, shuffle=True), DataLoader(data, BS), device="cuda")
        learn = Learner(dls, tf.nn.Linear(48, 3), F.cross_entropy, lambda ps, lr: optim.SGD(ps, lr), metrics=accuracy)
        before = like_cuda.waits["asnumpy"]
        with learn.no_bar():
            learn.fit(1)
        assert len(learn.recorder.losses) == 5 * copies
        return like_cuda.waits["asnumpy"] - before

    assert waits(1) == waits(10) < 20


def test_not_pinned(gpus):
    assert wrong(DataLoader(Pictures(), BS, device="cuda", pin_memory=False)) == []


def test_a_loop_that_is_left_early(gpus):
    threads = threading.active_count()
    loader = iter(DataLoader(Pictures(), BS, num_workers=2, device="cuda"))
    x = next(loader)[0]
    del loader
    assert threading.active_count() == threads and np.array_equal(x.numpy(), X[:BS])
    assert wrong(DataLoader(Pictures(), BS, device="cuda")) == []


# Faults: a wait left out


def test_a_step_that_does_not_wait_for_its_batch(gpus, monkeypatch):
    monkeypatch.setattr(Transfer, "arrive", lambda self, event: None)
    assert wrong(DataLoader(Pictures(), BS, device="cuda"))


def test_page_locked_memory_used_again_too_early(gpus, monkeypatch):
    class Forgets(list):
        def append(self, _):
            pass

    monkeypatch.setattr(backend.get("cuda").transfer, "_under_way", Forgets())
    assert wrong(all_sent_first())


def all_sent_first():
    """All batches sent before any is read."""
    transfer = backend.get("cuda").transfer
    sent = []
    for i in range(0, N, BS):
        near = [transfer.pinned(a[i : i + BS]) for a in (X, T)]
        sent.append(transfer.send(near))
        del near
    for _, event in sent:
        transfer.arrive(event)
    return [there for there, _ in sent]


def test_all_sent_before_any_is_read(gpus):
    assert wrong(all_sent_first()) == []


def test_a_copy_into_memory_that_is_still_read(gpus, monkeypatch):
    wait = like_cuda.Stream.wait_event
    kernels = like_cuda.Stream.null
    monkeypatch.setattr(like_cuda.Stream, "wait_event", lambda s, e: None if e.stream is kernels else wait(s, e))
    with pytest.raises(AssertionError, match="a copy into memory that kernels may still be reading"):
        wrong(DataLoader(Pictures(), BS, device="cuda"))
