"""Files, splits, labels, tables, archives."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from PIL import Image

import tinygrad_fast as tf
from tinygrad_fast.data import (
    ColReader,
    ColSplitter,
    FuncSplitter,
    GrandparentSplitter,
    IndexSplitter,
    RandomSplitter,
    RegexLabeller,
    extract,
    get_files,
    get_image_files,
    parent_label,
    read_csv,
    using_attr,
)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def names(paths, root):
    return [p.relative_to(root).as_posix() for p in paths]


# files


def test_get_image_files_finds_images_alone_and_skips_what_is_hidden(tmp_path):
    touch(tmp_path, "a.JPG", "b.txt", "c/d.png", "c/e.jpeg", ".hidden/f.jpg", "c/.g.jpg", "h/i.webp")
    assert names(get_image_files(tmp_path), tmp_path) == ["a.JPG", "c/d.png", "c/e.jpeg", "h/i.webp"]
    assert names(get_image_files(tmp_path, recurse=False), tmp_path) == ["a.JPG"]
    assert names(get_image_files(tmp_path, folders="c"), tmp_path) == ["c/d.png", "c/e.jpeg"]
    assert names(get_files(tmp_path, [".TXT"]), tmp_path) == ["b.txt"]


def test_folders_filter_applies_at_the_top_alone(tmp_path):
    touch(tmp_path, "train/valid/a.png", "valid/b.png", "other/train/c.png", "d.png")
    assert names(get_image_files(tmp_path, folders=["train"]), tmp_path) == ["train/valid/a.png"]


def test_get_files_follows_links(tmp_path):
    touch(tmp_path, "far/a.png")
    (tmp_path / "near").mkdir()
    (tmp_path / "near/link").symlink_to(tmp_path / "far")
    assert names(get_image_files(tmp_path / "near"), tmp_path) == ["near/link/a.png"]
    assert get_files(tmp_path / "near", followlinks=False) == []


def test_nothing_to_find_is_said(tmp_path):
    touch(tmp_path, "a.txt", "b.txt")
    with pytest.raises(FileNotFoundError, match=r"no images under .*; it holds 2 other files"):
        get_image_files(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not there"):
        get_image_files(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is a file, not a folder"):
        get_files(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match=r"has no folder \['valid'\]; it has \[\]"):
        get_image_files(tmp_path, folders=["valid"])


# splitters


@given(n=st.integers(1, 200), pct=st.floats(0.01, 0.99), seed=st.integers(0, 2**32))
def test_random_splitter_takes_int_of_pct_n_and_splits_all(n, pct, seed):
    train, valid = RandomSplitter(pct, seed)(range(n))
    assert len(valid) == int(pct * n)
    assert sorted(train + valid) == list(range(n))
    assert (train, valid) == RandomSplitter(pct, seed)(range(n))


def test_random_splitter_of_seven_items_holds_one_back_and_leaves_the_generator_alone():
    before = tf.rng.default.get_state()
    train, valid = RandomSplitter(seed=42)(list("abcdefg"))
    assert (len(train), len(valid)) == (6, 1)
    assert tf.rng.default.get_state() == before


def test_random_splitter_without_seed_follows_manual_seed():
    def splits():
        return [RandomSplitter()(range(100)) for _ in range(2)]

    tf.manual_seed(3)
    first = splits()
    tf.manual_seed(3)
    assert splits() == first
    assert first[0] != first[1]


def test_other_splitters():
    items = [Path(f"d/{top}/cat/{i}.png") for i, top in enumerate(["train", "valid", "train", "test", "extra"])]
    assert GrandparentSplitter()(items) == ([0, 2], [1])
    assert GrandparentSplitter(train_name=("train", "extra"), valid_name="test")(items) == ([0, 2, 4], [3])
    assert FuncSplitter(lambda p: p.stem > "2")(items) == ([0, 1, 2], [3, 4])
    assert IndexSplitter([4, 1])(items) == ([0, 2, 3], [4, 1])
    rows = [{"f": "a", "is_valid": v} for v in ("True", "0", "", "yes")]
    assert ColSplitter()(rows) == ([1, 2], [0, 3])


def test_splitters_refuse():
    with pytest.raises(ValueError, match=r"0 < valid_pct < 1; got 20"):
        RandomSplitter(20)
    with pytest.raises(IndexError, match=r"indices lie in \[0, 3\), the number of items; got \[7\]"):
        IndexSplitter([1, 7])(range(3))
    with pytest.raises(ValueError, match=r"no FOLDER is \['valid'\], they are \['test', 'train'\]"):
        GrandparentSplitter()([Path("train/a/1.png"), Path("test/a/1.png")])
    with pytest.raises(ValueError, match="says true or false, 1 or 0; got 'maybe'"):
        ColSplitter("v")([{"v": "maybe"}])


# labellers


def test_labellers():
    path = Path("pets/images/great_pyrenees_173.jpg")
    assert parent_label(path) == "images"
    assert using_attr(RegexLabeller(r"(.+)_\d+.jpg$"), "name")(path) == "great_pyrenees"
    assert RegexLabeller(r"/([^/]+)/[^/]+$")(path) == "images"  # searched, not matched from the start
    assert using_attr(str.upper, "stem")(path) == "GREAT_PYRENEES_173"
    with pytest.raises(ValueError, match="was not found in 'pets/images/great_pyrenees_173.jpg'"):
        RegexLabeller(r"([a-z]+)_", match=True)(path)
    with pytest.raises(ValueError, match="label is group 1"):
        RegexLabeller(r".+_\d+")


def test_col_reader():
    row = {"name": "a", "tags": "cat  dog ", "n": "3", "none": ""}
    assert ColReader("name", pref="img/", suff=".png")(row) == "img/a.png"
    assert ColReader(0, pref=Path("img"))(row) == str(Path("img/a"))
    assert ColReader("tags", label_delim=" ")(row) == ["cat", "dog"]
    assert ColReader("none", label_delim=" ")(row) == []
    assert ColReader(["name", -2])(row) == ["a", "3"]
    with pytest.raises(KeyError, match=r"column 'label' is not in the table; its columns are \['name', 'tags'"):
        ColReader("label")(row)
    with pytest.raises(KeyError, match=r"column 7: the table has 4 columns"):
        ColReader(7)(row)


def test_read_csv(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text('\ufefff,label\na.png,"cat, grey"\n\nb.png,dog\n', encoding="utf-8")
    assert read_csv(file) == [{"f": "a.png", "label": "cat, grey"}, {"f": "b.png", "label": "dog"}]
    assert read_csv(file, header=False)[0][1] == "label"
    for text, error in [
        ("", "is empty"),
        ("f,f\na,b\n", "have different names"),
        ("f,g\na,b\nc\n", r"line 3 has 1 cells, its header has 2: \['f', 'g'\]"),
    ]:
        file.write_text(text)
        with pytest.raises(ValueError, match=error):
            read_csv(file)
    file.write_bytes("f,g\na,Löwe\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"read_csv: .*t.csv must be UTF-8, and is not .*0xf6"):
        read_csv(file)


# archives


def png(colour):
    out = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(out, "png")
    return out.getvalue()


def make_tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


GOOD = {"set/cat/1.png": png("red"), "set/dog/2.png": png("blue")}


@pytest.mark.parametrize(
    "name, mode", [("d.tgz", "w:gz"), ("d.tar", "w"), ("d.tar.xz", "w:xz"), ("d.tar.bz2", "w:bz2")]
)
def test_extract_tar_once(tmp_path, name, mode):
    archive = tmp_path / name
    make_tar(archive, GOOD, mode)
    folder = extract(archive, tmp_path / "cache")
    assert folder == tmp_path / "cache/d/set"
    assert names(get_image_files(folder), folder) == ["cat/1.png", "dog/2.png"]
    assert (folder / "cat/1.png").read_bytes() == GOOD["set/cat/1.png"]
    (folder / "mark").write_text("still here")
    (folder.parent / "models").mkdir()  # what others put beside it changes nothing
    assert extract(archive, tmp_path / "cache") == folder
    assert (folder / "mark").exists()
    make_tar(archive, {"set/cat/9.png": png("green")}, mode)  # another archive of that name replaces the folder
    assert names(get_files(extract(archive, tmp_path / "cache")), folder) == ["cat/9.png"]


def test_extract_zip_with_several_folders_on_top(tmp_path):
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as packed:
        for name, content in GOOD.items():
            packed.writestr(name.removeprefix("set/"), content)
    folder = extract(tmp_path / "d.zip", tmp_path)
    assert folder == tmp_path / "d"
    assert names(get_files(folder), folder) == ["cat/1.png", "dog/2.png"]


@pytest.mark.parametrize("evil", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "C:\\evil.txt", "..\\evil.txt"])
@pytest.mark.parametrize("kind", ["tgz", "zip"])
def test_extract_refuses_to_leave_its_folder(tmp_path, evil, kind):
    archive = tmp_path / f"d.{kind}"
    if kind == "tgz":
        make_tar(archive, GOOD | {evil: b"!"})
    else:
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("good.txt", "x")
            packed.writestr(evil, "!")
    with pytest.raises(ValueError, match="would write outside its folder"):
        extract(archive, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert not (tmp_path / "evil.txt").exists()


def test_extract_refuses_links(tmp_path):
    with tarfile.open(tmp_path / "d.tgz", "w:gz") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ValueError, match="holds a link or a device, 'link'"):
        extract(tmp_path / "d.tgz", tmp_path)


@pytest.mark.parametrize("kind", ["tgz", "zip", "tar"])
def test_extract_says_when_an_archive_is_truncated_and_leaves_nothing(tmp_path, kind):
    archive = tmp_path / f"d.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for name, content in GOOD.items():
                packed.writestr(name, content)
    else:
        make_tar(archive, GOOD, "w:gz" if kind == "tgz" else "w")
    whole = archive.read_bytes()
    end = 2048 if kind == "tar" else len(whole)  # two headers and two files of 512 bytes; a .tar ends in padding
    for cut in (0, 5, end // 3, end // 2, end // 2 + 9, end - 9, end - 1):
        archive.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"is truncated or no archive: .*; get it again"):
            extract(archive, tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []


def test_extract_leaves_folders_alone_that_it_did_not_make(tmp_path):
    make_tar(tmp_path / "d.tgz", GOOD)
    touch(tmp_path, "d/mine.txt")
    with pytest.raises(FileExistsError, match="was not made by extract"):
        extract(tmp_path / "d.tgz", tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no archive"):
        extract(tmp_path / "e.tgz", tmp_path)
