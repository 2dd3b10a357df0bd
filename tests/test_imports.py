"""Who may import whom: read from the source, nothing is run but one `import tinygrad_fast` in a process of its own.

Imports run downwards only. A circle is a design fault, not something to break with a late import: imports inside
functions count as well.
"""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tinygrad_fast"
FLOORS = [  # lowest first; those of one floor may use one another, but never in a circle
    ["dtypes", "shapes", "geometry", "tables", "tape", "rng", "determinism", "schedule"],
    ["backend"],
    ["ops"],
    ["display", "tensor"],
    ["functions", "creation", "autograd", "amp", "capture", "cpu", "cuda", "emulator"],
    ["nn", "optim", "checkpoint", "testing"],
    ["models", "data"],
    ["learner"],
    ["the package itself"],  # `import tinygrad_fast as tf`: only for what hands `tf` on
    ["vision", "__main__"],
]
FLOOR = {unit: height for height, units in enumerate(FLOORS) for unit in units}
LATE = {"PIL", "rich", "safetensors", "ml_dtypes", "matplotlib", "hypothesis", "pytest", "cupy", "numba", "torch"}
UNSAFE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}

FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]


def statements(tree):
    """All nodes but those under `if TYPE_CHECKING:`, which never run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                yield from statements(other)
            continue
        yield node
        yield from statements(node)


def imports(path):
    """(absolute module, names) of every import in a file, wherever it stands."""
    here = [PACKAGE.name, *path.relative_to(PACKAGE).parent.parts]
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            yield ".".join([*base, *(node.module or "").split(".")]).strip("."), [a.name for a in node.names]


def units(path):
    """The units (first name below the package) that a file imports."""
    for module, names in imports(path):
        first, _, rest = module.partition(".")
        if first == PACKAGE.name:
            yield from [rest.partition(".")[0]] if rest else names or ["the package itself"]


def unit(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_unit_has_a_floor():
    assert {unit(path) for path in FILES} - {"__init__"} <= set(FLOOR)


@pytest.mark.parametrize("path", [p for p in FILES if unit(p) != "__init__"], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    above = {u for u in units(path) if FLOOR.get(u, len(FLOORS)) > FLOOR[unit(path)]}
    assert not above, f"{path.relative_to(PACKAGE)} (floor of {unit(path)}) imports from above: {sorted(above)}"


def test_no_circle_among_units():
    graph = {u: set() for u in FLOOR}
    for path in FILES:
        if unit(path) != "__init__":
            graph[unit(path)] |= set(units(path)) & set(FLOOR) - {unit(path)}
    TopologicalSorter(graph).prepare()  # raises CycleError, naming the circle


@pytest.mark.parametrize("path", [p for p in FILES if unit(p) == "ops"], ids=lambda p: p.name)
def test_ops_know_arrays_only(path):
    """The backend is an argument of an op, and Tensor is what uses ops; NumPy would tie them to one machine."""
    assert set(units(path)) <= {"dtypes", "shapes", "geometry", "tables", "ops"}
    assert not [module for module, _ in imports(path) if module.partition(".")[0] == "numpy"]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_pickle_and_no_star(path):
    """A weight file that can run code is no weight file; a star hides where a name comes from."""
    for module, names in imports(path):
        assert module.partition(".")[0] not in UNSAFE
        assert "*" not in names
    allowed = "allow_pickle=True" not in path.read_text(encoding="utf-8")
    assert allowed, "np.load and np.save must not fall back to pickle"


def test_importing_the_package_loads_numpy_and_little_else():
    code = "import sys; before = set(sys.modules); import tinygrad_fast; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "numpy" in loaded
    assert not loaded & LATE
    third_party = loaded - set(sys.stdlib_module_names) - {"tinygrad_fast", "numpy"}
    # NumPy's compiled modules may show under a name of their own
    assert not {name for name in third_party if not name.startswith(("_", "cython"))}
    parts = {n.split(".")[1] for n in done.stdout.split() if n.startswith("tinygrad_fast.")}
    assert not parts & {"testing", "data", "learner", "vision", "models"}, "these load when they are first named"
