"""What the doctor prescribes: for each thing that can be wrong, the one command that mends its most common cause.

A command that only looks is none of these. Where a driver comes from depends on the computer: on Linux the distribution
packs it; a container borrows that of its host, and Linux inside Windows that of Windows.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

OURSELVES = "pip install --force-reinstall --no-deps tinygrad_fast"
COMPILER = "pip install ziglang"
DRIVER = {  # by ID of /etc/os-release
    "ubuntu": "sudo ubuntu-drivers install",
    "debian": "sudo apt install nvidia-driver",
    "fedora": "sudo dnf install akmod-nvidia",
    "arch": "sudo pacman -S nvidia-open",
}
PAGE = "https://www.nvidia.com/drivers"


# CuPy


def cupys() -> list[str]:
    """The packages that are installed and carry a module of that name."""
    names = {d.name for d in metadata.distributions() if d.name}
    return sorted(name for name in names if re.fullmatch(r"cupy(-cuda\d+x?|-rocm.*)?", name.lower()))


def install_cupy(major: int) -> str:
    return f"pip install 'cupy-cuda{major}x[ctk]>=14'"


def reinstall_cupy() -> str:
    return f"pip install --force-reinstall '{cupys()[0]}[ctk]'"


def update_cupy() -> str:
    return f"pip install -U '{cupys()[0]}[ctk]'"


def remove_cupy() -> str:
    return f"pip uninstall -y {' '.join(cupys())}"


def another_cupy(major: int) -> str:
    return f"{remove_cupy()} && {install_cupy(major)}"


def forget_kernels() -> str:
    """Away with what CuPy and we keep compiled."""
    kept = os.environ.get("CUPY_CACHE_DIR", Path.home() / ".cupy" / "kernel_cache")
    return f"{'rmdir /s /q' if sys.platform == 'win32' else 'rm -r'} {kept}"


# The environment


def unset(name: str) -> str:
    return f"set {name}=" if sys.platform == "win32" else f"unset {name}"


def set_to(name: str, value: str) -> str:
    return f"{'set' if sys.platform == 'win32' else 'export'} {name}={value}"


# The driver


def container() -> str:
    """The program that runs this container; "" where this is none."""
    marks = {"/run/.containerenv": "podman", "/.dockerenv": "docker"}
    return next((engine for mark, engine in marks.items() if Path(mark).exists()), "")


def start_again() -> str:
    """On the host: what this container was made from, with GPUs. Its name there is its host name here."""
    engine = container()
    return f"{engine} run --gpus all -it $({engine} inspect -f '{{{{.Config.Image}}}}' {platform.node()})"


def on_windows() -> bool:
    """Also as Linux inside it."""
    return sys.platform == "win32" or "microsoft" in platform.release().lower()


def install_driver() -> str:
    """Install it, or a newer one: of a container, on its host."""
    if on_windows():
        return f"cmd.exe /c start {PAGE}"
    try:
        about = {} if container() else platform.freedesktop_os_release()
    except OSError:  # a Linux that does not say which it is
        about = {}
    alike = about.get("ID", ""), *about.get("ID_LIKE", "").split()
    return next((DRIVER[name] for name in alike if name in DRIVER), f"python -m webbrowser {PAGE}")


def restart() -> str:
    """What helps where driver and kernel module are of two versions, as after an update, or a GPU has fallen silent."""
    return start_again() if container() else "shutdown.exe /r" if on_windows() else "sudo reboot"
