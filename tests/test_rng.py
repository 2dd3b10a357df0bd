"""Random numbers: Philox's published answers, streams, seeds, and what the draws look like."""

import threading

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
from tinygrad_fast import rng


def words(text):
    return [int(w, 16) for w in text.split()]


# counter, key, answer: `kat_vectors` of Random123 (Salmon et al. 2011), philox4x32 with 10 rounds
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_answers(counter, key, answer):
    given = np.array(words(counter), np.uint32)[:, None]
    k0, k1 = words(key)
    assert rng.philox(given, (k0, k1))[:, 0].tolist() == words(answer)
    many = rng.philox(np.repeat(given, 3, 1), (k0, k1))
    assert (many.T == words(answer)).all(), "each counter for itself"


def test_words_come_in_the_order_of_their_counters():
    """Element i is word i % 4 of counter (i // 4, 0, 0, seed high) under the key (seed low, stream)."""
    seed = 0x123456789ABCDEF0
    generator = tf.Generator(seed)
    generator.key()
    key = generator.key()
    assert key.tolist() == [0x9ABCDEF0, 0x12345678, 1]
    got = rng.bits(key, 11)
    for i in range(11):
        counter = np.array([[i // 4], [0], [0], [0x12345678]], np.uint32)
        assert got[i] == rng.philox(counter, (0x9ABCDEF0, 1))[i % 4, 0]


def test_the_first_draws_never_change():
    """Saved experiments depend on them."""
    tf.manual_seed(42)
    first = rng.bits(tf.Generator(0).key(), 5)
    assert [hex(w) for w in first] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8", "0xf8e4cca4"]
    assert [hex(w) for w in rng.bits(tf.Generator(2**40 + 7).key(), 2)] == ["0xd416e262", "0x1d52c5ad"]
    assert tf.rand(3).tolist() == [0.6129598617553711, 0.4685865044593811, 0.07323169708251953]
    want = [0.7522793412208557, -0.7114101648330688, -0.8368810415267944, 1.35960054397583]
    np.testing.assert_allclose(tf.randn(4).numpy(), want, rtol=1e-6)  # sin and log may differ in the last bit
    assert tf.randint(0, 100, (5,)).tolist() == [13, 4, 80, 25, 43]
    assert tf.randperm(6).tolist() == [5, 3, 0, 2, 1, 4]


@given(n=st.integers(0, 70), m=st.integers(0, 70), seed=st.integers(0, 2**64 - 1))
def test_element_i_does_not_depend_on_how_many_are_drawn(n, m, seed):
    n, m = min(n, m), max(n, m)
    key = tf.Generator(seed).key()
    for draw in (rng.bits, rng.uniform, rng.normal):
        assert draw(key, m)[:n].tolist() == draw(key, n).tolist()


def test_long_draws_are_made_in_blocks_that_fit_together():
    n = 4 * rng.BLOCK + 6
    long = rng.bits(tf.Generator(9).key(), n)
    counter = np.zeros((4, 2), np.uint32)
    counter[0] = rng.BLOCK - 1, rng.BLOCK
    assert len(long) == n and long[n - 10 : n - 2].tolist() == rng.philox(counter, (9, 0)).T.reshape(-1).tolist()


def test_one_seed_one_sequence():
    def draws():
        return [tf.rand(3).tolist(), tf.randn(2, 2).tolist(), tf.randint(9, (4,)).tolist(), tf.randperm(5).tolist()]

    tf.manual_seed(7)
    first = draws()
    second = draws()
    tf.manual_seed(7)
    assert draws() == first != second
    tf.manual_seed(8)
    assert draws() != first


def test_generators_are_independent_of_the_default():
    tf.manual_seed(1)
    expected = tf.rand(2).tolist()
    tf.manual_seed(1)
    own = tf.Generator(1)
    assert tf.rand(2, generator=own).tolist() == expected
    assert tf.rand(2).tolist() == expected, "a draw from another generator leaves the default where it was"
    state = own.get_state()
    after = tf.randn(3, generator=own).tolist()
    own.set_state(state)
    assert tf.randn(3, generator=own).tolist() == after


def test_streams_and_seeds_differ():
    generator = tf.Generator(3)
    streams = {tuple(rng.bits(generator.key(), 4).tolist()) for _ in range(200)}
    seeds = {
        tuple(rng.bits(tf.Generator(s).key(), 4).tolist()) for s in [*range(200), *(s << 32 for s in range(1, 200))]
    }
    assert len(streams) == 200 and len(seeds) == 399


def test_neighbouring_streams_are_uncorrelated():
    generator = tf.Generator(0)
    draws = np.stack([rng.normal(generator.key(), 20_000) for _ in range(6)])
    worst = np.abs(np.corrcoef(draws) - np.eye(6)).max()
    assert not worst > 5 / np.sqrt(20_000), "5 standard deviations of a correlation of independent draws"


def test_uniform_lies_in_0_to_1_and_is_uniform():
    n = 100_000
    u = rng.uniform(tf.Generator(5).key(), n)
    assert u.dtype == np.float32 and u.min() >= 0 and u.max() < 1
    counts, _ = np.histogram(u, 64, (0, 1))
    chi2 = ((counts - n / 64) ** 2 / (n / 64)).sum()
    assert not abs(chi2 - 63) > 5 * np.sqrt(2 * 63), "63 degrees of freedom, 5 standard deviations"


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float64"])
def test_rand_stays_below_1_in_every_type(name):
    assert tf.rand(20_000, dtype=name).to(tf.float64).max().item() < 1


def test_normal_has_the_moments_of_a_normal_distribution():
    n = 100_000
    z = rng.normal(tf.Generator(11).key(), n).astype(np.float64)
    moments = [(z**k).mean() for k in (1, 2, 3, 4)]
    spread = [np.sqrt(v / n) for v in (1, 2, 15, 96)]  # standard deviations of these means
    for got, want, s in zip(moments, (0, 1, 0, 3), spread, strict=True):
        assert not abs(got - want) > 5 * s
    assert not abs(np.mean(z[0::2] * z[1::2])) > 5 / np.sqrt(n / 2), "the two of a pair are independent"
    assert np.isfinite(z).all()


@given(low=st.integers(-1000, 1000), size=st.integers(1, 50))
def test_randint_covers_its_range_and_no_more(low, size):
    t = tf.randint(low, low + size, (40 * size,), generator=tf.Generator(size))
    assert t.dtype == "int64" and t.amin().item() >= low and t.amax().item() < low + size
    assert len(set(t.tolist())) > size * 0.9


def test_randint_takes_its_arguments_as_pytorch_does():
    same = [tf.randint(10, (3,), generator=tf.Generator(1)), tf.randint(0, 10, (3,), generator=tf.Generator(1))]
    same += [
        tf.randint(10, size=(3,), generator=tf.Generator(1)),
        tf.randint(high=10, size=(3,), generator=tf.Generator(1)),
    ]
    assert all(t.tolist() == same[0].tolist() for t in same)
    assert tf.randint(5, (2, 3), dtype=tf.uint8).dtype == "uint8"
    wide = tf.randint(-(2**40), 2**40, (1000,), generator=tf.Generator(1))
    assert wide.amax().item() > 2**39 and wide.amin().item() < -(2**39)
    for bad in [(5, 5, (1,)), (5, 3, (1,)), (5,), (3, 5)]:
        with pytest.raises(RuntimeError, match="randint: needs low < high and a size"):
            tf.randint(*bad)


def test_randperm_is_a_permutation():
    p = tf.randperm(1000)
    assert sorted(p.tolist()) == list(range(1000)) and p.tolist() != list(range(1000))
    assert tf.randperm(0).shape == (0,)


def test_threads_never_share_a_stream():
    generator, taken = tf.Generator(0), []

    def take():
        taken.extend(int(generator.key()[2]) for _ in range(500))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(taken) == list(range(4000))


@pytest.mark.parametrize("seed", [1.5, "7", None, True])
def test_a_seed_is_an_integer(seed):
    with pytest.raises(TypeError, match="the seed is an integer; got"):
        tf.manual_seed(seed)


def test_large_and_negative_seeds_are_taken_modulo_2_to_the_64():
    assert tf.Generator(-1).key().tolist()[:2] == [0xFFFFFFFF, 0xFFFFFFFF]
    assert tf.Generator(np.int64(5)).key().tolist() == [5, 0, 0]


def test_the_like_forms_draw_in_the_same_order():
    x = tf.zeros(2, 3, dtype="float64")
    for like, plain in ((tf.rand_like, tf.rand), (tf.randn_like, tf.randn)):
        tf.manual_seed(4)
        a = like(x)
        tf.manual_seed(4)
        b = plain(2, 3)
        assert a.dtype == "float64" and a.shape == (2, 3) and a.tolist() == b.tolist()
