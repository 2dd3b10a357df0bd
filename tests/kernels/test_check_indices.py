"""An index that points nowhere: no step waits to look, and who reads a value next is told."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tinygrad_fast import backend
from tinygrad_fast.shapes import Places
from tinygrad_fast.testing import memory


@pytest.fixture(scope="module")
def there(machine):
    """The machine itself: who reads a value is the one who is told."""
    return getattr(machine, "machine", machine)


def test_what_comes_out_is_inside(there, tally):
    before = there.launch.counts.copy()
    plain = backend.CPU()

    @given(st.data())
    def any_indices(data):
        n, of = data.draw(st.integers(1, 9)), data.draw(st.sampled_from(["", "classes"]))
        ignored = data.draw(st.sampled_from([None, -100, 2])) if of else None
        places = Places("f", "index", n, of, ignored)
        inside = st.integers(places.low, n - 1) if ignored is None else st.integers(0, n - 1) | st.just(ignored)
        shape = data.draw(st.sampled_from([(), (0,), (1,), (5,), (300,), (3, 2)]))
        values = data.draw(st.lists(inside, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        index = np.array(values, data.draw(st.sampled_from(["int64", "int32"]))).reshape(shape)
        index = index.T if data.draw(st.booleans()) else index
        y = there.to_numpy(there.check_indices(memory.on(there, index), places))  # there is nothing to tell
        assert y.dtype == np.int64 and y.tolist() == plain.check_indices(index, places).tolist()
        if index.size and ignored is None:
            index.flat[-1] = data.draw(st.sampled_from([n, n + 1000, -n - 1, -1 if places.of else -(2**31)]))
            y = there.check_indices(memory.on(there, index), places)
            with pytest.raises(IndexError) as wrong:
                plain.check_indices(index, places)
            with pytest.raises(IndexError) as told:
                there.to_numpy(y)
            assert str(told.value).startswith(f"{wrong.value}. Found on {there.name} by an earlier launch")
            assert 0 <= there.to_numpy(y).min() and there.to_numpy(y).max() < n

    any_indices()
    tally(kernel="check_indices", launches=(there.launch.counts - before)["check_indices"])


def test_the_first_fault_is_told_once(there):
    first, second = Places("f", "index", 3, "rows"), Places("g", "target", 4, "classes")

    def look(values, places):
        there.check_indices(there.asarray(np.array(values)), places)

    def read():
        return there.to_numpy(there.full((2,), 1.0, np.dtype("float32"))).tolist()

    look([0, 7, 2, 7], first)
    look([9], second)
    with pytest.raises(IndexError, match=r"f: every index must be in 0\.\.2, there are 3 rows; got 7\."):
        read()
    assert read() == [1, 1]
    look([9], second)
    with pytest.raises(IndexError, match=r"g: every target must be in 0\.\.3, there are 4 classes; got 9"):
        read()


@pytest.fixture
def far(device):
    """far(1, 2): whole numbers there; far.x: 2 x 3 numbers."""

    def made(*values):
        return tf.tensor(list(values)).to(device)

    made.x = tf.rand(2, 3).to(device)
    return made


CALLS = {  # what a user calls, and what is told
    "cross_entropy": (lambda x, far: F.cross_entropy(x, far(0, 3)), r"cross_entropy: every target .* 0\.\.2.*got 3"),
    "nll_loss": (lambda x, far: F.nll_loss(x, far(-1, 0)), r"nll_loss: every target must be in 0\.\.2.*got -1"),
    "embedding": (lambda x, far: F.embedding(far(5), x), r"embedding: .* in 0\.\.1, there are 2 rows.*got 5"),
    "one_hot": (lambda x, far: F.one_hot(far(4), 4), r"one_hot: every class index must be in 0\.\.3.*got 4"),
    "gather": (lambda x, far: x.gather(1, far(3, 0).reshape(2, 1)), r"gather: .* in -3\.\.2 for an axis"),
    "index_select": (lambda x, far: x.index_select(0, far(-3)), r"index_select: .* in -2\.\.1.*got -3"),
    "getitem": (lambda x, far: x[:, far(0, 8)], r"index: every index must be in -3\.\.2 for an axis of 3; got 8"),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("read", ["item", "numpy", "tolist", "repr", "format", "to"])
def test_it_is_told_where_a_value_is_read(far, name, read):
    call, told = CALLS[name]
    y = call(far.x, far).float().sum()  # nothing is told here
    ways = {"repr": repr, "format": "{:.3f}".format, "to": lambda t: t.to("cpu")}
    with pytest.raises(IndexError, match=f"(?s){told}.*Found on {far.x.device} by an earlier launch, and told now"):
        ways[read](y) if read in ways else getattr(y, read)()
    ways[read](y) if read in ways else getattr(y, read)()  # once


def test_writes_are_looked_at_too(device, far):
    x = tf.zeros(3).to(device)
    x[far(1, 3)] = 1
    with pytest.raises(IndexError, match=r"every index must be in -3\.\.2.*got 3"):
        x.tolist()


def test_a_persons_numbers_are_looked_at_at_once(device, far):
    x, counts = far.x, backend.get(device).launch.counts.copy()
    with pytest.raises(IndexError, match=r"every index must be in -3\.\.2 for an axis of 3; got 3$"):
        x[:, [0, 3]]
    with pytest.raises(IndexError, match="for an axis of 2; got -3$"):
        x[np.array([-3])]
    with pytest.raises(IndexError, match=r"index_select: every index must be in 0\.\.-1 for an axis of 0; got one"):
        x[:, :0].index_select(1, far(0))
    assert x[:, [-1, 0]].equal(x[:, far(2, 0)])
    assert (backend.get(device).launch.counts - counts)["check_indices"] == 1


def test_a_step_that_went_wrong_says_so_and_the_next_is_right(device, far):
    w = tf.rand(3, 4).to(device).requires_grad_()
    losses = []
    for classes in ([0, 2], [0, 3], [1, 1]):
        loss = F.cross_entropy(tf.ones(2, 4).to(device) @ w.T, far(*classes))
        loss.backward()
        losses.append(loss.detach())
    with pytest.raises(IndexError, match=r"cross_entropy.*got 3 \(ignore_index is -100\).*what was computed since"):
        losses[-1].item()
    assert losses[0].item() > 0 and w.grad.isfinite().all()
