"""`device="cuda"` without a GPU: all of it but CuPy and the driver, on a stand-in that is as strict (like_cupy.py)."""

import re
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_fast as tf
import tinygrad_fast.nn.functional as F
from tests.laws.table import TABLE
from tinygrad_fast import backend
from tinygrad_fast.backend import cuda, doctor, remedies
from tinygrad_fast.backend.source import KernelError
from tinygrad_fast.shapes import Slot
from tinygrad_fast.testing import strategies as some
from tinygrad_fast.testing.backends import HELPERS, backends

from . import like_cuda, like_cupy


@pytest.fixture(scope="module")
def stand_in():
    """The device "like cupy": CUDA, made where `import cupy` gives the stand-in."""
    with like_cupy.installed():
        backend.register("like cupy", cuda.CUDA)
        HELPERS.add("like cupy")
        yield backend.get("like cupy")


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_law_row_runs_on_it(stand_in, row, tally):
    @given(st.data())
    def every(data):
        backends(data.draw(some.cases(row)), ["like cupy"])

    every()
    tally(rows_like_cupy=1)


ELEMENTWISE = {
    **{name: 2 for name in "add sub mul div pow maximum minimum eq ne lt le gt ge floor_divide remainder".split()},
    **{name: 2 for name in "logical_and logical_or logical_xor".split()},
    **{name: 1 for name in "neg abs sign square floor ceil round exp expm1 sqrt log log1p sin cos tan tanh".split()},
    **{name: 1 for name in "logical_not isnan isinf isfinite reciprocal rsqrt sigmoid erf copy".split()},
}


@pytest.mark.parametrize("shape, order", [((2, 3, 4, 5), (0, 3, 1, 2)), ((5, 4, 3, 2), (3, 2, 0, 1)), ((4, 3), (1, 0))])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_results_lie_as_what_they_are_made_of(stand_in, name, shape, order):
    """Channels-last, a weight in order KH KW C O, a transposed matrix; whatever the other operand is."""
    rng = np.random.default_rng(0)
    x = (rng.random([shape[i] for i in np.argsort(order)]) + 0.5).astype(np.float32).transpose(order)
    f, plain = getattr(stand_in, name), getattr(backend.CPU(), name)
    others = [()] if ELEMENTWISE[name] == 1 else [(x[::-1],), (x[:1] * 2,), (x.ravel()[: shape[-1]],), (2.0,)]
    for other in others:
        y = f(stand_in.asarray(x), *(a if type(a) is float else stand_in.asarray(a) for a in other))
        assert y.shape == shape and np.transpose(y.held, np.argsort(order)).flags.c_contiguous
        np.testing.assert_allclose(y.held.astype(float), np.asarray(plain(x, *other)).astype(float), rtol=1e-6)


def test_what_is_written_cast_and_joined_lies_as_it_did(stand_in):
    x = stand_in.asarray(np.arange(24, dtype=np.float32).reshape(1, 2, 4, 3).transpose(0, 3, 1, 2))
    for y in (stand_in.cast(x, dtype=np.dtype("float16")), stand_in.where(stand_in.gt(x, 3.0), x, 0.0)):
        assert y.held.transpose(0, 2, 3, 1).flags.c_contiguous
    assert stand_in.cast(x, dtype=x.dtype) is x
    y = stand_in.cat(x, x, axis=0)
    assert y.held.transpose(0, 2, 3, 1).flags.c_contiguous and (y.held[1] == x.held[0]).all()
    stand_in.write_(y, 1.0)
    stand_in.add_(y, stand_in.cat(x, x, axis=0))
    assert (y.held == 1 + x.held).all()
    stand_in.write_(x, stand_in.asarray(np.ones((1, 3, 2, 4), np.float32)))
    assert (x.held == 1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
def test_division_by_floors_is_numpys(stand_in, dtype):
    """CuPy's own are floor(a / b), and a less that times b: 10 and 0 for 1 and 0.1."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-50, 50, 4000).astype(dtype) for _ in range(2))
    if dtype == "int32":
        b[b == 0] = 1
    else:
        a, b = a / 10, b / 10
        ends = np.array([0, 1, -1, np.inf, -np.inf, np.nan])
        a, b = (np.concatenate([x, y.ravel()]).astype(dtype) for x, y in zip((a, b), np.meshgrid(ends, ends)))
    plain = backend.CPU()
    for name in ("floor_divide", "remainder"):
        y = getattr(stand_in, name)(stand_in.asarray(a), stand_in.asarray(b))
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.held, getattr(plain, name)(a, b))
    x = tf.tensor([1.0, -1.0]).to("like cupy")
    assert (x // 0.1).tolist() == [9, -10] and (1.0 % (x / 10)).tolist() == (1.0 % (x.cpu() / 10)).tolist()


def test_bfloat16_is_sorted(stand_in):
    x = tf.tensor([2.0, -1.0, 3.0, -1.0]).to(tf.bfloat16).to("like cupy")
    assert x.argsort().tolist() == [1, 3, 0, 2] and x.argsort(descending=True).tolist() == [2, 0, 1, 3]
    values, index = x.topk(2)
    assert values.tolist() == [3, 2] and index.tolist() == [2, 0]


def test_products_are_kernels(stand_in):
    before = stand_in.launch.counts.copy()
    x = stand_in.asarray(np.ones((3, 4), np.float32))
    y = stand_in.linear(x, stand_in.full((2, 4), 1.0, np.dtype("float32")), stand_in.asarray(np.float32([1, -9])), True)
    assert stand_in.to_numpy(y).tolist() == [[5, 0]] * 3
    assert (stand_in.launch.counts - before) == {"matmul_tiles": 1}


def test_a_function_is_looked_up_once(stand_in, monkeypatch):
    asked, get = [], like_cupy.RawModule.get_function
    monkeypatch.setattr(like_cupy.RawModule, "get_function", lambda self, name: asked.append(name) or get(self, name))
    machine, x = cuda.CUDA(), stand_in.asarray(np.ones((3, 3), np.float32))
    for _ in range(3):
        machine.matmul(x, x)
    assert asked == ["matmul_tiles"]


def test_a_launch_that_the_driver_refuses_is_named(stand_in):
    x = stand_in.asarray(np.ones(4, np.float32))
    with pytest.raises(
        KernelError, match=r"^uniform \(-DDTYPE=float32; .*y \(4,\)\): the driver refuses grid \(1, 1, 1\), bl"
    ):
        given = dict(key=stand_in.asarray(np.zeros(4, np.uint32)), y=x, N=1, C=1, P=4)
        stand_in.launch("uniform", grid=(1,), block=(32, 64), defines={"DTYPE": "float32"}, **given)


def test_lists_of_its_arrays_reach_a_kernel(stand_in):
    """By their addresses; nothing is read back but what the test looks at."""
    before = stand_in.launch.counts.copy()
    ps = [tf.full((n, 2), 2.0).to("like cupy").requires_grad_() for n in (1, 3)]
    for p in ps:
        p.grad = p.detach() * 1.0
    with mock.patch.object(cuda.CUDA, "to_numpy", side_effect=AssertionError("read back")):
        norm = tf.nn.utils.clip_grad_norm_(ps, 32**0.5)
        tf.optim.SGD(ps, lr=0.5, momentum=0.9).step()
    kernels = {"total_norm_parts": 1, "total_norm": 1, "clip_norm_": 1, "sgd_": 1}
    assert stand_in.launch.counts - before == kernels
    assert norm.item() == pytest.approx(32**0.5)
    assert all((abs(p - 1) < 1e-6).all() for p in ps)


def test_no_step_waits_for_the_gpu(stand_in, monkeypatch):
    """Reading by index, random numbers and losses, there and back: no array comes to the computer's memory."""
    rng = np.random.default_rng(0)
    shapes = ((2, 3, 4, 5), (6, 3), (2, 4, 4, 2))
    x, w, grid = (tf.tensor(rng.random(s, np.float32)).to("like cupy").requires_grad_() for s in shapes)
    index = tf.tensor([[0, 3, 3], [1, 5, 0]]).to("like cupy")
    t = tf.tensor(np.full((6, 3), 1 / 3, np.float32)).to("like cupy")

    def waits(*given, **named):
        raise AssertionError("a step waits for the GPU")

    monkeypatch.setattr(like_cupy, "asnumpy", waits)
    for name in ("__bool__", "__index__", "tolist"):
        monkeypatch.setattr(like_cupy.ndarray, name, waits)
    before = stand_in.launch.counts.copy()
    read = (w[index], w[:, index[0] - 1], w.gather(0, index), w.max(dim=0).values, F.embedding(index, w, padding_idx=3))
    for y in (*read, F.dropout(x, 0.5), F.grid_sample(x, grid, align_corners=True), F.cross_entropy(w, t)):
        y.sum().backward()
    assert {
        *("scatter", "gather_back", "dropout", "dropout_back", "grid_sample", "grid_sample_dgrid"),
        *("grid_sample_corners", "soft_cross_entropy", "soft_cross_entropy_back"),
    } <= set(stand_in.launch.counts - before)


def test_what_a_gradient_of_reading_by_index_asks_of_the_library(stand_in, monkeypatch):
    """Beside our kernel, and what moves or casts: zeros to add to, the sort, and once whether an index is negative."""
    asked, call = [], like_cupy._call
    monkeypatch.setattr(like_cupy, "_call", lambda name, *given: asked.append(name) or call(name, *given))
    x, index = stand_in.asarray(np.ones((5, 4), np.float32)), stand_in.asarray(np.array([0, -1, 3, 0]))
    g, key, column = stand_in.getitem(x, index, key=(Slot(0),)), (Slot(0),), stand_in.reshape(index, (4, 1))
    scattered = ["full", "ndarray.argsort", "ndarray.take"]
    for back, want in (
        (lambda: stand_in.getitem_back(g, index, key=key, shape=(5, 4)), ["remainder", *scattered]),
        (lambda: stand_in.gather_back(g[:, :1], column, 0, (5, 1)), ["remainder", "full"]),
        (lambda: stand_in.embedding_back(index, g, 5, None), scattered),
    ):
        asked.clear()
        back()
        moves = ("ndarray.reshape", "ndarray.transpose", "ndarray.astype", "ascontiguousarray")
        assert [name for name in asked if name not in moves] == want


def test_no_array_is_an_array_of_numpy(stand_in):
    with pytest.raises(KernelError, match=r"x must be a .*like_cupy.ndarray; got ndarray"):
        stand_in.matmul(np.ones((2, 2), np.float32), np.ones((2, 2), np.float32))


def test_expanded_memory_is_not_written_to(stand_in):
    x = stand_in.expand(stand_in.asarray(np.ones((1, 3))), (2, 3))
    with pytest.raises(RuntimeError, match="expanded"):
        stand_in.write_(x, 0.0)
    assert stand_in.own(x, None) is not x


# What a computer without a (working) CuPy is told


@pytest.fixture
def forgotten():
    cuda.why_not.cache_clear()
    yield
    cuda.why_not.cache_clear()


def broken():
    raise OSError("libcuda.so.1: cannot open shared object file")


BROKEN = SimpleNamespace(cuda=SimpleNamespace(is_available=broken))


@pytest.mark.parametrize(
    "cupy, says",
    [
        (None, "CuPy is not installed"),
        (BROKEN, "CuPy does not work .OSError: libcuda.so.1"),
        (SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False)), "CuPy finds no GPU or no driver"),
    ],
)
def test_no_gpu_disturbs_nobody(forgotten, cupy, says):
    with mock.patch.dict(sys.modules, {"cupy": cupy}):
        assert not tf.cuda.is_available() and tf.cuda.device_count() == tf.cuda.memory_allocated() == 0
        with pytest.raises(RuntimeError, match=f'device "cuda": {says}.*doctor.*emulated'):
            tf.ones(2).to("cuda")
    assert (tf.ones(2) + 1).tolist() == [2, 2]


# The doctor


def examined(**modules):
    said = []
    with mock.patch.dict(sys.modules, modules):
        well = doctor.examine(said.append)
    return well, "\n".join(said)


@pytest.fixture
def one_cupy(monkeypatch):
    """And Ubuntu, on a computer of its own."""
    monkeypatch.setattr(remedies, "cupys", lambda: ["cupy-cuda13x"])
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "14.2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    somewhere(monkeypatch, ID="ubuntu", ID_LIKE="debian")


def somewhere(monkeypatch, container="", windows=False, **release):
    monkeypatch.setattr(remedies, "container", lambda: container)
    monkeypatch.setattr(remedies, "on_windows", lambda: windows)
    monkeypatch.setattr(remedies.platform, "freedesktop_os_release", lambda: release)
    monkeypatch.setattr(remedies.platform, "node", lambda: "3f2a9c17be04")


def test_doctor_finds_all_well(forgotten, one_cupy):
    well, said = examined(**dict.fromkeys(like_cupy.NAMES, like_cupy))
    assert well and said.count("ok  ") == 9 and "matmul compiled and run; a float32 product is right to" in said
    assert "cuda:0 H100 (sm_90, 80 GiB)" in said


def changed(*, RawModule=like_cupy.RawModule, nvrtc=like_cupy.cuda.nvrtc, **runtime):
    """The stand-in with another runtime, compiler or modules."""
    parts = vars(like_cupy.cuda) | {"runtime": SimpleNamespace(**vars(RUNTIME) | runtime), "nvrtc": nvrtc}
    found = {name: getattr(like_cupy, name) for name in dir(like_cupy) if name[0] != "_"}
    found |= {"__version__": like_cupy.__version__, "cuda": SimpleNamespace(**parts), "RawModule": RawModule}
    return SimpleNamespace(**found)


def fails(*_):
    raise RuntimeError("cudaErrorNoDevice")


RUNTIME = like_cupy.cuda.runtime
OLD = {"name": b"GTX 1080", "major": 6, "minor": 1, "totalGlobalMem": 8 << 30}
NEW = {"name": b"Rubin", "major": 14, "minor": 0, "totalGlobalMem": 288 << 30}


def mixed(i):
    return OLD if i else like_cuda.GPU


class WrongKernel(like_cupy.RawModule):
    """What was kept of a kernel is damaged: it loads, and writes other numbers."""

    def get_function(self, name):
        return lambda *_, **__: None


class RefusedKernel(like_cupy.RawModule):
    def compile(self):
        if self.source:
            raise like_cupy.CompileException("matmul.cu(3): error")


def no_library(*_):
    raise OSError("libnvrtc.so.13: cannot open shared object file")


def no_headers(**_):
    raise like_cupy.CompileException("cannot open source file cuda_fp16.h")


NO_NVRTC = SimpleNamespace(**vars(like_cupy.cuda.nvrtc) | {"getVersion": no_library})
REINSTALL, NO_GPU = "pip install --force-reinstall 'cupy-cuda13x[ctk]'", "export CUDA_VISIBLE_DEVICES=0"
INSTEAD, OURSELVES = "pip uninstall -y cupy-cuda13x && pip install 'cupy-cuda12x[ctk]>=14'", remedies.OURSELVES
FAULTS = [
    (None, "CuPy does not load", REINSTALL),
    (
        SimpleNamespace(__version__="13.6"),
        "CuPy must be 14 or newer; this is 13.6",
        "pip install -U 'cupy-cuda13x[ctk]'",
    ),
    (changed(driverGetVersion=lambda: 0), "there is no NVIDIA driver$", "sudo ubuntu-drivers install"),
    (changed(driverGetVersion=fails), "the NVIDIA driver does not answer: cudaErrorNoDevice", "sudo reboot"),
    (changed(driverGetVersion=lambda: 11040), "serves CUDA 11.4 and older.*driver 525", "sudo ubuntu-drivers install"),
    (changed(driverGetVersion=lambda: 12080), "CUDA 13.0 needs a newer driver than 12.8", INSTEAD),
    (changed(runtimeGetVersion=fails), "runtime: RuntimeError: cudaErrorNoDevice", REINSTALL),
    (changed(getDeviceCount=fails), "no device answers: cudaErrorNoDevice", "sudo reboot"),
    (changed(getDeviceCount=lambda: 0), "there is no device", "sudo reboot"),
    (
        changed(getDeviceProperties=lambda i: OLD),
        "GTX 1080 has compute capability 6.1",
        "pip uninstall -y cupy-cuda13x",
    ),
    (changed(getDeviceCount=lambda: 2, getDeviceProperties=mixed), "GTX 1080.*leave it out", NO_GPU),
    (changed(nvrtc=NO_NVRTC), "NVRTC, which compiles kernels, does not load: libnvrtc.so.13", REINSTALL),
    (changed(RawModule=no_headers), "CUDA's headers are not found: cannot open source file", REINSTALL),
    (changed(RawModule=RefusedKernel), r"a kernel of ours is refused: .*matmul.cu\(3\): error", OURSELVES),
    (changed(RawModule=WrongKernel), "or what is kept of it, does not run: RuntimeError", "rm -r /kept/kernels"),
]


@pytest.mark.parametrize("cupy, says, command", FAULTS)
def test_doctor_names_the_first_fault_and_the_command_that_mends_it(
    forgotten, one_cupy, monkeypatch, cupy, says, command
):
    monkeypatch.setenv("CUPY_CACHE_DIR", "/kept/kernels")
    well, said = examined(cupy=cupy, **dict.fromkeys(like_cupy.NAMES[1:], like_cupy))
    *_, fault, remedy, _ = said.splitlines()
    assert not well and re.search(says, fault) and remedy == f"        run: {command}", said


AGAIN = "docker run --gpus all -it $(docker inspect -f '{{.Config.Image}}' 3f2a9c17be04)"


@pytest.mark.parametrize(
    "fault, place, command",
    [
        ("none", dict(ID="linuxmint", ID_LIKE="ubuntu debian"), "sudo ubuntu-drivers install"),
        ("none", dict(ID="debian"), "sudo apt install nvidia-driver"),
        ("none", dict(ID="nixos"), "python -m webbrowser https://www.nvidia.com/drivers"),
        ("none", dict(windows=True), "cmd.exe /c start https://www.nvidia.com/drivers"),
        ("none", dict(container="docker", ID="debian"), AGAIN),
        ("old", dict(container="docker", ID="debian"), "python -m webbrowser https://www.nvidia.com/drivers"),
        ("silent", dict(container="podman"), AGAIN.replace("docker", "podman")),
        ("silent", dict(windows=True), "shutdown.exe /r"),
    ],
)
def test_where_a_driver_comes_from(forgotten, one_cupy, monkeypatch, fault, place, command):
    somewhere(monkeypatch, **place)
    number = {"none": lambda: 0, "old": lambda: 11040, "silent": fails}[fault]
    _, said = examined(cupy=changed(driverGetVersion=number))
    assert f"\n        run: {command}\n" in said


def test_a_gpu_that_is_hidden(forgotten, one_cupy, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    _, said = examined(cupy=changed(getDeviceCount=fails))
    assert "CUDA_VISIBLE_DEVICES=7 hides others\n        run: unset CUDA_VISIBLE_DEVICES\n" in said


@pytest.mark.parametrize(
    "chosen, command", [("no-such-compiler", "unset CXX"), (None, remedies.OURSELVES), ("", "pip install ziglang")]
)
def test_an_emulator_that_does_not_work(forgotten, one_cupy, monkeypatch, chosen, command):
    """The compiler that was chosen; our own files; no compiler. The other checks follow all the same."""
    monkeypatch.delenv("CXX", raising=False)
    if chosen:
        monkeypatch.setenv("CXX", chosen)
    if chosen == "":
        monkeypatch.setattr(doctor.emulator, "why_not", lambda: "there is none")
    monkeypatch.setattr(cuda, "Emulated", broken)
    well, said = examined(**dict.fromkeys(like_cupy.NAMES, like_cupy))
    assert well and f"\n        run: {command}\nok      CuPy" in said


def test_doctor_says_what_is_newer_than_the_toolkit(forgotten, one_cupy):
    _, said = examined(cupy=changed(getDeviceProperties=lambda i: NEW))
    assert "cuda:0 Rubin (sm_140, 288 GiB), newer than this CUDA knows: the driver translates" in said
    assert "what is compiled for sm_120" in said


def test_doctor_knows_cupy_from_its_friends(monkeypatch):
    names = ["cupy-cuda13x", "cupy_xarray", "numpy", "cupyx-like"]
    monkeypatch.setattr(remedies.metadata, "distributions", lambda: [SimpleNamespace(name=name) for name in names])
    assert remedies.cupys() == ["cupy-cuda13x"]


TWO = "pip uninstall -y cupy cupy-cuda12x && pip install 'cupy-cuda12x[ctk]>=14'"


NONE, ROCM = (
    "pip install 'cupy-cuda13x[ctk]>=14'",
    "pip uninstall -y cupy-rocm-5-0 && pip install 'cupy-cuda12x[ctk]>=14'",
)


@pytest.mark.parametrize("found, command", [([], NONE), (["cupy", "cupy-cuda12x"], TWO), (["cupy-rocm-5-0"], ROCM)])
def test_doctor_wants_one_cupy(forgotten, monkeypatch, found, command):
    monkeypatch.setattr(remedies, "cupys", lambda: found)
    well, said = examined()
    assert not well and f"\n        run: {command}\n" in said


def test_doctor_is_a_command():
    done = subprocess.run([sys.executable, "-m", "tinygrad_fast", "doctor"], capture_output=True, text=True)
    assert done.stdout.startswith("ok      emulator: ")
    assert done.returncode == (0 if 'device="cuda" works' in done.stdout else 1)
    assert subprocess.run([sys.executable, "-m", "tinygrad_fast"], capture_output=True).returncode == 2


def test_a_copy_of_an_expansion_keeps_the_order_of_images():
    """The gradient of a sum along a row: one image, its columns all at one place."""
    with like_cupy.installed():
        machine = cuda.CUDA()
        images = machine.asarray(np.moveaxis(np.arange(4.0).reshape(1, 2, 1, 2), -1, 1))  # (1, 2, 2, 1), channels last
        wide = machine.expand(images, (1, 2, 2, 2))
        for made in (machine.copy(wide), machine.add(wide, 0.0)):
            assert made.strides == (64, 8, 32, 16)
            np.testing.assert_array_equal(made.held, np.broadcast_to(images.held, (1, 2, 2, 2)))
