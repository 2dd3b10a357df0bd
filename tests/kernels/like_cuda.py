"""What stands behind the stand-in for CuPy: devices, streams, events, memory. Strict where a GPU would be silent.

Kernels run at once, on the null stream, unless a stream captures (like_graph.py). A copy on another stream runs when
somebody waits for it and not before: who reads too early, or reuses page-locked memory too soon, gets other numbers.
What no number can show is checked: an array lies on a device and is touched on no other, and a copy into memory that
kernels may still read must have been made to wait for them. A copy from one device to another waits for what wrote it,
and what comes next there for the copy.
"""

import threading
import weakref
from collections import Counter, defaultdict, deque
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from . import like_graph

COUNT = 1  # of GPUs
waits = Counter()  # how often the host has waited for the GPU, and in what
_here = threading.local()
_clock = 0  # kernels started
_last = Counter()  # by device: the last of them
_heard = Counter()  # by two devices: up to where the null stream of the first has waited for the second's
_lent = defaultdict(list)  # by device: who reads its memory, and since when


def tick():
    global _clock
    here = device_now()
    assert all(_heard[here, there] >= since for there, since in _lent.pop(here, [])), "another GPU may still be reading"
    _clock += 1
    _last[here] = _clock


def read_from(there):
    """The current device reads another's memory."""
    here = device_now()
    assert _heard[here, there] >= _last[there], "a copy from a GPU that may still be writing"
    tick()
    _lent[there].append((here, _clock))


# Devices


class Device:
    def __init__(self, device=None):
        self.id = device_now() if device is None else int(device)
        if not 0 <= self.id < COUNT:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __enter__(self):
        _here.__dict__.setdefault("before", []).append(device_now())
        _here.device = self.id
        return self

    def __exit__(self, *raised):
        _here.device = _here.before.pop()

    def use(self):
        _here.device = self.id

    def synchronize(self):
        forbidden_in_capture("Device.synchronize")
        waits["Device.synchronize"] += 1
        for stream in Stream.all:
            stream.run()


def device_now():
    return getattr(_here, "device", 0)


# Streams and events


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.stream, self.place, self.clock, self.device = Stream.null, 0, 0, device_now()

    def record(self, stream=None):
        assert self.device == device_now(), "cudaErrorInvalidResourceHandle: the event is another device's"
        self.stream = stream or get_current_stream()
        self.place, self.clock = self.stream.asked, _clock
        return self

    @property
    def done(self):
        return self.stream.ran >= self.place

    def synchronize(self):
        forbidden_in_capture("Event.synchronize")
        waits["Event.synchronize"] += 1
        self.stream.run(self.place)


class Stream:
    all: ClassVar = weakref.WeakSet()

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        assert null or non_blocking, "a stream that waits for the null stream, and it for the stream, overlaps nothing"
        self.waiting, self.asked, self.ran = deque(), 0, 0
        self.recorded = None  # while it captures
        self.kernels_ended = 0  # those started before this have ended, for whoever comes next on this stream
        self.device_id = device_now()
        Stream.all.add(self)

    def begin_capture(self, mode=None):
        if self is Stream.null:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        assert self.recorded is None and mode is None
        self.recorded = like_graph.Recorded(allocator())

    def end_capture(self):
        recorded, self.recorded = self.recorded, None
        return like_graph.Graph(recorded)

    def is_capturing(self):
        return self.recorded is not None

    def ask(self, work):
        """Later; on the null stream now."""
        forbidden_in_capture("a copy between host and GPU", self)
        self.asked += 1
        self.waiting.append(work)
        if self is Stream.null:
            self.run()

    def run(self, place=None):
        while self.waiting and (place is None or self.ran < place):
            self.ran += 1
            self.waiting.popleft()()

    def record(self, event=None):
        forbidden_in_capture("an event of another stream's", self)
        return (event or Event()).record(self)

    def wait_event(self, event):
        forbidden_in_capture("an event of another stream's", self)
        if event.stream is Stream.null:
            self.kernels_ended = max(self.kernels_ended, event.clock)
            if self is Stream.null:
                _heard[device_now(), event.device] = event.clock
        elif event.stream is not self:
            self.ask(lambda: event.stream.run(event.place))

    def synchronize(self):
        forbidden_in_capture("Stream.synchronize")
        waits["Stream.synchronize"] += 1
        self.run()

    def __enter__(self):
        _here.__dict__.setdefault("streams", []).append(self)
        return self

    def __exit__(self, *raised):
        _here.streams.pop()


Stream.null = Stream(null=True)


def get_current_stream(device_id=-1):
    streams = getattr(_here, "streams", None)
    return streams[-1] if streams else Stream.null


def recorded():
    """What takes down the work of the current stream, or None: it is done."""
    return get_current_stream().recorded


def forbidden_in_capture(what, stream=None):
    """As CUDA has it: an error, and the capture is lost."""
    if (stream or get_current_stream()).recorded is not None:
        raise RuntimeError(f"the current stream is capturing, so {what} is disallowed")


# Memory of the GPU: each stream has what arrays made on it have left

ROUND = 512


class MemoryPool:
    private = True

    def __init__(self):
        self.used, self.total = Counter(), Counter()
        self.left = defaultdict(list)  # by stream and size: when, by the clock of kernels

    def malloc(self, size):
        raise AssertionError("memory is asked for by array")

    def holds(self, held):
        """Account for an array that has memory of its own. Returns since when nobody owned that memory."""
        size, device, stream = -(-held.nbytes // ROUND) * ROUND, device_now(), get_current_stream()
        self.used[device] += size
        self.total[device] = max(self.total[device], self.used[device])
        _tell("malloc_postprocess", device, held.nbytes, size)
        weakref.finalize(held, self._leaves, device, stream, size, held.nbytes)
        left = self.left[stream, size]
        return left.pop() if left else 0

    def _leaves(self, device, stream, size, nbytes):
        self.used[device] -= size
        self.left[stream, size].append(_clock)
        _tell("free_postprocess", device, nbytes, size)

    def used_bytes(self):
        return self.used[device_now()]

    def total_bytes(self):
        return self.total[device_now()]

    def free_bytes(self):
        return self.total_bytes() - self.used_bytes()

    def free_all_blocks(self, stream=None):
        self.total[device_now()] = self.used[device_now()]


class using_allocator:
    """Of this thread."""

    def __init__(self, allocator):
        self.allocator = allocator

    def __enter__(self):
        _here.__dict__.setdefault("allocators", []).append(self.allocator)

    def __exit__(self, *raised):
        _here.allocators.pop()


def allocator():
    allocators = getattr(_here, "allocators", None)
    return allocators[-1] if allocators else pool.malloc


class MemoryHook:
    """Hooks see what their thread does."""

    def __enter__(self):
        _here.__dict__.setdefault("hooks", {})[self.name] = self

    def __exit__(self, *raised):
        del _here.hooks[self.name]


def _tell(event, device, nbytes, size):
    given = dict(device_id=device, size=nbytes, mem_size=size, mem_ptr=0, pmem_id=0)
    if event.startswith("free"):
        del given["size"]
    for hook in getattr(_here, "hooks", {}).values():
        getattr(hook, event, lambda **_: None)(**given)


pool = MemoryPool()
pool.private = False


# Page-locked memory of the host: what is left is handed out again at once


class PinnedMemoryPool:
    def __init__(self):
        self.left, self.all = defaultdict(list), {}

    def empty(self, shape, dtype):
        count = int(np.prod(shape))
        size = max(count * np.dtype(dtype).itemsize, 1)
        memory = self.left[size].pop() if self.left[size] else bytearray(size)
        a = np.frombuffer(memory, dtype, count)  # the base of whatever is made of it
        self.all[a.ctypes.data] = memory
        weakref.finalize(a, self.left[size].append, memory)
        return a.reshape(shape)

    def under(self, a):
        """The memory of a, which nobody keeps for a: what it holds when it is read may be another array's."""
        assert a.ctypes.data in self.all, "a copy out of memory that is not page-locked makes the host wait"
        return np.frombuffer(self.all[a.ctypes.data], a.dtype, a.size).reshape(a.shape)

    def free_all_blocks(self):
        self.left.clear()


pinned = PinnedMemoryPool()

GPU = {"name": b"H100", "major": 9, "minor": 0, "totalGlobalMem": 80 << 30, "multiProcessorCount": 132}
runtime = SimpleNamespace(
    driverGetVersion=lambda: 13000,
    runtimeGetVersion=lambda: 13000,
    getDeviceCount=lambda: COUNT,
    getDevice=device_now,
    getDeviceProperties=lambda device: GPU,
    memGetInfo=lambda: ((80 << 30) - pool.total_bytes(), 80 << 30),
)
