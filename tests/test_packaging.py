"""From the source tree to an sdist, from it to a wheel, from it to a clean environment: what a person gets from pip.

No network: the build uses the hatchling that is installed here, and the clean environment borrows NumPy and friends
from this one through a .pth file, which comes after its own packages.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = """
import importlib, json, pkgutil
from importlib.metadata import version
from pathlib import Path
import tinygrad_fast as tf
from tinygrad_fast.backend.source import kernel_folder

home = Path(tf.__file__).parent
for module in pkgutil.walk_packages(tf.__path__, "tinygrad_fast."):
    importlib.import_module(module.name)
x = tf.tensor([1.0, 2.0], requires_grad=True)
(x * x).sum().backward()
row = tf.tensor([[1.0, 2.0]], device="emulated")
print(json.dumps({
    "home": str(home),
    "found": str(kernel_folder()),
    "emulated": (row @ row.T).tolist(),
    "kernels": [p.name for p in sorted((home / "kernels").iterdir())],
    "typed": (home / "py.typed").exists(),
    "versions": [tf.__version__, version("tinygrad_fast")],
    "grad": x.grad.tolist(),
}))
"""


def run(*command, cwd):
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with the sdist and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return out


def test_sdist_has_what_is_needed_to_build_and_test(built):
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    wanted = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "kernels/README.md",
        "tinygrad_fast/tape.py",
        "tests/conftest.py",
    }
    assert wanted <= names
    assert not [n for n in names if "__pycache__" in n or ".venv" in n or n.endswith(".safetensors")]


def test_wheel_holds_the_package_and_the_kernels_alone(built):
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as z:
        names = z.namelist()
        [metadata] = [n for n in names if n.endswith(".dist-info/METADATA")]
        fields = Parser().parsestr(z.read(metadata).decode())
    assert {n.partition("/")[0].partition("-")[0] for n in names} == {"tinygrad_fast"}
    assert "tinygrad_fast/kernels/README.md" in names
    assert any(n.endswith(".dist-info/licenses/LICENSE") for n in names)
    assert fields["License-Expression"] == "MIT" and fields["Requires-Python"] == ">=3.11"
    core = {r.split(">")[0].replace("_", "-") for r in fields.get_all("Requires-Dist") if "extra ==" not in r}
    assert core == {"numpy", "pillow", "rich", "safetensors", "ml-dtypes", "threadpoolctl"}
    assert {"cuda12", "cuda13", "numba", "plot", "test", "lint", "bench"} == set(fields.get_all("Provides-Extra"))


@pytest.mark.timeout(300)
def test_wheel_works_in_a_clean_environment(built, tmp_path):
    [wheel] = built.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=tmp_path)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site) / "borrowed.pth").write_text("\n".join(sorted(borrowed)))

    found = json.loads(run(python, "-I", "-W", "error", "-c", SCRIPT, cwd=tmp_path))
    assert Path(found["home"]) == Path(site) / "tinygrad_fast"
    assert found["kernels"] == sorted(p.name for p in (ROOT / "kernels").iterdir())
    assert Path(found["found"]) == Path(site) / "tinygrad_fast" / "kernels" and found["emulated"] == [[5.0]]
    assert found["typed"]
    assert len(set(found["versions"])) == 1
    assert found["grad"] == [2.0, 4.0]
