"""Every Python block of README.md and docs/*.md runs, in order, one namespace a file; a block marked `output` is what
the block before it prints, to the letter. Shell blocks name files that exist, and .ci/run runs the test command itself.

Blocks run in a folder that holds `images/circle` and `images/square`: 16 pictures of 32 x 32 each.
"""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "kernels" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path):
    """(language, first line, text) of every fenced block."""
    page = path.read_text(encoding="utf-8")
    for found in FENCE.finditer(page):
        yield found[1], page.count("\n", 0, found.start(2)) + 1, found[2]


def command(name):
    """The one line of the shell block under `<!-- command: NAME -->` in the README."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    [text] = re.findall(rf"^<!-- command: {name} -->\n```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    [line] = text.splitlines()
    return line


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    from PIL import Image, ImageDraw

    for shape in ("circle", "square"):
        folder = tmp_path / "images" / shape
        folder.mkdir(parents=True)
        for i in range(16):
            image = Image.new("RGB", (32, 32), (8 * i, 40, 90))
            draw = ImageDraw.Draw(image)
            (draw.ellipse if shape == "circle" else draw.rectangle)((4 + i % 4, 6, 20 + i % 4, 22), fill=(250, 200, 0))
            image.save(folder / f"{i:02}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_blocks_run(path, workplace, tally):
    import tinygrad_fast as tf

    tf.manual_seed(0)
    space, printed = {"__name__": "__main__"}, None
    for language, line, text in blocks(path):
        if language == "python":
            out = io.StringIO()
            code = compile("\n" * (line - 1) + text, str(path), "exec")
            with contextlib.redirect_stdout(out):
                exec(code, space)
            printed = out.getvalue()
            tally(block=f"{path.name}:{line}")
        elif language == "output":
            assert printed is not None and text.rstrip() == printed.rstrip(), f"{path.name}:{line}"


def test_the_two_commands():
    """Each is one line to paste, in a clone, with Python and nothing else."""
    for name, last in (("main job", "examples/train_resnet.py"), ("tests", "pytest -n 2")):
        line = command(name)
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install "), line
        assert line.endswith(last), line
        assert not re.search(r"\b(git|curl|wget|sudo|apt|conda)\b", line), line
    assert "'.[test]'" in command("tests"), "quoted: zsh reads brackets itself"


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- command: tests -->" in script
    assert "-m pytest" not in script and "bin/pytest" not in script, "it must be taken from the README"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_shell_blocks_name_what_exists(path):
    for language, line, text in blocks(path):
        if language in ("sh", "bash", "shell", "console"):
            for name in re.findall(r"[\w./-]+\.py\b", text):
                assert (ROOT / name).exists(), f"{path.name}:{line} names {name}"
            for module in re.findall(r"python3? -m ([\w.]+)", text):
                place = ROOT / module.replace(".", "/")
                known = module in ("venv", "pip", "pytest") or place.is_dir() or place.with_suffix(".py").exists()
                assert known, f"{path.name}:{line} runs {module}"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", FENCE.sub("", path.read_text(encoding="utf-8"))):
        if "://" not in target and not target.startswith("mailto:"):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_what_the_environment_may_say_is_on_a_page():
    """Each variable that a program here reads has a row, and ours have no row without a reader."""
    programs = [*(ROOT / "tinygrad_fast").rglob("*.py"), *(ROOT / "examples").glob("*.py"), ROOT / "tests/conftest.py"]
    text = "".join(path.read_text(encoding="utf-8") for path in programs)
    read = set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', text))
    rows = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "environment.md").read_text(encoding="utf-8"), re.M))
    assert read - {"COMPUTE_SANITIZER"} <= rows  # tests/kernels/sanitize.py says it to the tests
    ours, told = ({name for name in names if name.startswith("TINYGRAD")} for names in (read, rows))
    assert ours == told != set()
