"""DataBlock, ImageDataLoaders: from files to batches and back, and what is said when it cannot work."""

import re

import numpy as np
import pytest
from PIL import Image

import tinygrad_fast as tf
from tinygrad_fast.data import (
    CategoryBlock,
    ColReader,
    DataBlock,
    DataLoaders,
    Flip,
    FuncSplitter,
    GrandparentSplitter,
    ImageBlock,
    ImageDataLoaders,
    IndexSplitter,
    ItemError,
    MultiCategoryBlock,
    Normalize,
    PILImageBW,
    RandomSplitter,
    RegexLabeller,
    RegressionBlock,
    Resize,
    TensorDataset,
    TransformBlock,
    UnknownLabel,
    contact_sheet,
    get_image_files,
    parent_label,
    using_attr,
)

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def picture(colour, w=12, h=8):
    return Image.new("RGB", (w, h), COLOURS[colour])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """train/CLASS/0..7.png and valid/CLASS/0..3.png of one colour each, of different sizes."""
    root = tmp_path_factory.mktemp("colours")
    for split, n in (("train", 8), ("valid", 4)):
        for colour in COLOURS:
            (root / split / colour).mkdir(parents=True)
            for i in range(n):
                picture(colour, 12 + i).save(root / split / colour / f"{colour}_{i}.png")
    return root


def colours(**options):
    usual = dict(blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, splitter=GrandparentSplitter())
    return DataBlock(**usual | dict(get_y=parent_label, item_tfms=Resize(8)) | options)


def pairs(loader):
    """{(colour of the picture, its label)} over an epoch"""
    vocab, seen = loader.dataset.vocab, set()
    for x, y in loader:
        for image, label in zip(x.numpy(), y.tolist()):
            seen.add((tuple(int(v) for v in image.mean((1, 2)) * 255), vocab[label]))
    return seen


EACH = {(rgb, name) for name, rgb in COLOURS.items()}


# the plan, step by step


def test_datasets_can_be_looked_at(folder):
    data = colours().datasets(folder)
    assert (len(data), len(data.train), len(data.valid)) == (36, 24, 12)
    image, label = data.train[0]
    assert isinstance(image, Image.Image) and image.size == (12, 8)
    assert label == 0 and data.vocab == ["blue", "green", "red"] and data.c == 3
    assert data.train.decode((image, label)) == (image, "blue")
    assert repr(data.valid) == "Datasets(12 items of validation, ('image', 'category'))"


def test_dataloaders(folder):
    dls = colours().dataloaders(folder, bs=7)
    x, y = dls.one_batch()
    assert x.shape == (7, 3, 8, 8) and x.dtype == np.float32 and y.dtype == np.int64
    assert 0 <= x.numpy().min() and x.numpy().max() == 1
    assert (len(dls.train), len(dls.valid)) == (3, 2)  # the last, partial batch: dropped from training, kept here
    assert [y for _, batch in dls.valid for y in batch.tolist()] == [0] * 4 + [1] * 4 + [2] * 4
    assert pairs(dls.train) == pairs(dls.valid) == EACH
    assert (dls.vocab, dls.c, dls.n_inp, dls.kinds) == (["blue", "green", "red"], 3, 1, ("image", "category"))
    assert colours().dataloaders(folder, bs=7, val_bs=12).valid.one_batch()[0].shape[0] == 12


def test_the_order_of_stages(folder):
    dls = colours(batch_tfms=[Normalize([0] * 3, [1] * 3), Flip()]).dataloaders(folder, bs=4)
    assert [type(t).__name__ for t in dls.after_item.tfms] == ["Resize", "ToTensor"]
    assert [type(t).__name__ for t in dls.after_batch.tfms] == ["IntToFloat", "Flip", "Normalize"]
    assert [type(t).__name__ for t in dls.valid.after_batch.tfms] == ["IntToFloat", "Normalize"]
    assert dls.before_batch == []


def test_two_sources_of_one_block_do_not_share_what_they_learn(folder, tmp_path):
    block = colours(splitter=RandomSplitter(0.5, seed=0), batch_tfms=Normalize())
    for name in ("black", "white"):
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.new("L", (8, 8), 255 * (name == "white")).save(tmp_path / name / f"{i}.png")
    first, second = block.dataloaders(folder, bs=4), block.dataloaders(tmp_path, bs=4)
    assert first.vocab == ["blue", "green", "red"] and second.vocab == ["black", "white"]
    means = [dls.after_batch.tfms[-1].mean for dls in (first, second)]
    assert not np.array_equal(*means)


def test_getters_and_inputs():
    items = [(i, 2 * i, i % 2) for i in range(10)]
    number = TransformBlock(lambda x: np.float32(x))
    block = DataBlock(
        (number, number, CategoryBlock),
        get_x=[lambda o: o[0], lambda o: o[1]],
        get_y=lambda o: o[2],
        splitter=IndexSplitter([0]),
    )
    a, b, y = block.dataloaders(items, bs=9).one_batch()
    assert block.n_inp == 2
    assert np.array_equal(b.numpy(), 2 * a.numpy()) and np.array_equal(y.numpy(), a.numpy() % 2)
    assert len(DataBlock((number, number, number), n_inp=1).getters) == 3
    with pytest.raises(ValueError, match="get_x has one function for each of 2 blocks; got 1"):
        DataBlock((number, number, CategoryBlock), get_x=lambda o: o)
    with pytest.raises(ValueError, match="one getter for each of the 2 blocks; got 3"):
        DataBlock((number, number), getters=[None] * 3)


def test_other_targets():
    files = [Image.new("L", (4, 4), i) for i in range(20)]

    def batch(y_block, get_y):
        block = DataBlock((ImageBlock(PILImageBW), y_block), get_y=get_y, splitter=IndexSplitter(range(4)))
        return block.dataloaders(files, bs=16, seed=0)

    def level(image):
        return image.getpixel((0, 0))

    dls = batch(RegressionBlock, lambda im: level(im) / 2)
    x, y = dls.one_batch()
    assert x.shape == (16, 1, 4, 4) and y.dtype == np.float32 and dls.c == 1
    np.testing.assert_allclose(y.numpy(), x.numpy()[:, 0, 0, 0] * 255 / 2, rtol=1e-6)  # x / 255 is rounded once
    assert batch(RegressionBlock, lambda im: [1, 2]).c == 2
    dls = batch(
        MultiCategoryBlock, lambda im: [n for n in ("odd", "big") if {"odd": level(im) % 2, "big": level(im) > 9}[n]]
    )
    x, y = dls.one_batch()
    assert y.shape == (16, 2) and dls.vocab == ["big", "odd"] and dls.c == 2
    for (image, labels), row in zip(dls.decode_batch((x, y), 16), y.tolist()):
        assert (["big"] if level(image) > 9 else []) + (["odd"] if level(image) % 2 else []) == labels
        assert row == [level(image) > 9, level(image) % 2]
    dls = batch(MultiCategoryBlock(encoded=True, vocab=["a", "b"]), lambda im: [0, 1])
    assert dls.decode_batch(dls.one_batch(), 1)[0][1] == ["b"] and dls.c == 2
    with pytest.raises(ValueError, match="encoded=True needs vocab"):
        MultiCategoryBlock(encoded=True)


# the same items, described in many ways


def described(folder):
    files = get_image_files(folder / "train")
    labels = [f.parent.name for f in files]
    names = [f.relative_to(folder).as_posix() for f in files]
    table = "file,colour,held\n" + "".join(f"{n},{c},{i % 3 == 0}\n" for i, (n, c) in enumerate(zip(names, labels)))
    (folder / "labels.csv").write_text(table)
    both = dict(seed=3, item_tfms=Resize(8), bs=5, valid_pct=0.25)
    yield ImageDataLoaders.from_folder(folder / "train", **both)
    yield ImageDataLoaders.from_path_func(folder, files, parent_label, **both)
    yield ImageDataLoaders.from_name_func(folder, files, lambda name: name.split("_")[0], **both)
    yield ImageDataLoaders.from_name_re(folder, files, r"^(.+)_\d+.png$", **both)
    yield ImageDataLoaders.from_path_re(folder, files, r"/([^/]+)/[^/]+$", **both)
    yield ImageDataLoaders.from_csv(folder, **both)
    yield ImageDataLoaders.from_csv(folder, fn_col="file", label_col="colour", **both)
    yield ImageDataLoaders.from_lists(folder, names, labels, **both)


def test_the_same_images_described_in_eight_ways_give_the_same_batches(folder):
    epochs = []
    for dls in described(folder):
        assert pairs(dls.train) <= EACH and (dls.vocab, dls.path) == (["blue", "green", "red"], dls.path)
        epochs.append([(x.numpy().tobytes(), y.tolist()) for loader in (dls.train, dls.valid) for x, y in loader])
        assert len(dls.valid_ds) == 6
    assert all(epoch == epochs[0] for epoch in epochs)


def test_label_function_gets_the_name_alone(folder):
    seen = []
    files = get_image_files(folder / "train")
    ImageDataLoaders.from_name_func(folder, files, lambda n: seen.append(n) or n[0], item_tfms=Resize(8), bs=4)
    assert set(map(type, seen)) == {str} and not any("/" in n for n in seen)


def test_tables(tmp_path):
    folder = tmp_path
    for name in ("blue/blue_0", "red/red_1", "red/red_2", "green/green_3"):
        (folder / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(name.split("/")[0]).save(folder / f"train/{name}.jpg")
    rows = ["blue/blue_0,blue sea,1,0", "red/red_1,red,0,1", "red/red_2,,0,0", "green/green_3,sea,1,1"] * 3
    (folder / "t.csv").write_text("f,tags,v,w\n" + "\n".join(rows))
    how = dict(csv_fname="t.csv", folder="train", suff=".jpg", item_tfms=Resize(8), bs=2)
    dls = ImageDataLoaders.from_csv(folder, label_col="f", y_block=CategoryBlock(add_na=True), valid_col="v", **how)
    assert (len(dls.train_ds), len(dls.valid_ds)) == (6, 6)
    dls = ImageDataLoaders.from_csv(folder, label_col="tags", label_delim=" ", valid_pct=0.1, seed=1, **how)
    assert dls.vocab == ["blue", "red", "sea"] and dls.one_batch()[1].shape == (2, 3)
    dls = ImageDataLoaders.from_csv(folder, label_col=["v", "w"], y_block=RegressionBlock, **how)
    assert dls.c == 2 and dls.one_batch()[1].shape == (2, 2)
    assert ImageDataLoaders.from_csv(folder, label_col=["v", "w"], **how).vocab == ["0", "1"]
    with pytest.raises(KeyError, match=r"column 'kind' is not in the table; its columns are \['f', 'tags', 'v', 'w'\]"):
        ImageDataLoaders.from_csv(folder, label_col="kind", **how)


def test_data_that_are_not_there(folder, tmp_path):
    (tmp_path / "labels.csv").write_text("file,colour\n")
    with pytest.raises(ValueError, match=r"read_csv: .*labels.csv has a header, .*, and no rows"):
        ImageDataLoaders.from_csv(tmp_path)
    with pytest.raises(ValueError, match="0 < valid_pct < 1; got 0"):
        ImageDataLoaders.from_folder(folder / "train", valid_pct=0)
    rows = TensorDataset(np.ones((8, 3), np.float32), np.ones(8, np.float32))
    with pytest.raises(ValueError, match="Normalize: takes its statistics from .*; got data without a member of kind"):
        DataLoaders.from_dsets(rows, rows, bs=4, batch_tfms=Normalize())


def test_from_lists_chooses_the_target_by_its_labels(folder):
    names = [f.relative_to(folder) for f in get_image_files(folder / "train")]
    how = dict(item_tfms=Resize(8), bs=4)
    assert ImageDataLoaders.from_lists(folder, names, [i / 2 for i in range(len(names))], **how).kinds[1] == "number"
    multi = [["a"], [], ["b", "a"]] * 20
    assert ImageDataLoaders.from_lists(folder, names, multi[: len(names)], **how).vocab == ["a", "b"]
    with pytest.raises(ValueError, match=f"one label for each file; got {len(names)} files and 1 labels"):
        ImageDataLoaders.from_lists(folder, names, ["a"], **how)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda n: [np.float32(i / 2) for i in range(n)], "number"),
        (lambda n: [0, 1.0] * (n // 2), "number"),
        (lambda n: np.arange(n) / 2, "number"),
        (lambda n: tf.arange(n) / 2, "number"),
        (lambda n: np.arange(n) % 2, "category"),
        (lambda n: [np.int64(i % 2) for i in range(n)], "category"),
        (lambda n: np.array(["a", "b"] * (n // 2)), "category"),
        (lambda n: [True, False] * (n // 2), "category"),
    ],
)
def test_from_lists_takes_numpy_labels(folder, make, kind):
    names = [f.relative_to(folder) for f in get_image_files(folder / "train")] * 2
    how = dict(item_tfms=Resize(8), bs=4, seed=0)
    assert ImageDataLoaders.from_lists(folder, names, make(len(names)), **how).kinds[1] == kind
    rows = np.zeros((len(names), 2))
    with pytest.raises(ValueError, match=rf"labels must be a list, or an array .* got \({len(names)}, 2\)"):
        ImageDataLoaders.from_lists(folder, names, rows, **how)
    assert ImageDataLoaders.from_lists(folder, names, rows, y_block=RegressionBlock, **how).c == 2


def test_tables_that_cannot_be_read_say_why(tmp_path):
    for text, error in (
        (b"f,label\n", r"t.csv has a header, \['f', 'label'\], and no rows"),
        (b"", "t.csv is empty"),
        ("f,label\na.png,\u00e9t\u00e9\n".encode("latin-1"), "t.csv must be UTF-8, and is not"),
        (b"f,label\na.png,x\nb.png, \nc.png,\n", r"class must not be empty; 2 of 3 rows.* first \['b.png', ' '\]"),
    ):
        (tmp_path / "t.csv").write_bytes(text)
        with pytest.raises(ValueError, match=error):
            ImageDataLoaders.from_csv(tmp_path, "t.csv")


@pytest.mark.parametrize("pct", [0, 1, -0.1])
def test_from_folder_says_the_range_of_valid_pct(folder, pct):
    with pytest.raises(ValueError, match="0 < valid_pct < 1"):
        ImageDataLoaders.from_folder(folder, valid_pct=pct)


def test_normalize_of_what_is_no_image():
    x, y = np.zeros((8, 6), np.float32), np.zeros(8)
    with pytest.raises(ValueError, match=r"Normalize: takes its statistics from a batch of images"):
        DataLoaders.from_dsets(TensorDataset(x, y), TensorDataset(x, y), bs=4, batch_tfms=Normalize())


# back again


def test_decode_gives_back_pictures_and_labels(folder):
    dls = colours(batch_tfms=Normalize()).dataloaders(folder, bs=12)
    for image, label in dls.decode_batch(dls.one_batch(), 12):
        assert image.size == (8, 8) and image.getpixel((3, 3)) == COLOURS[label]


def test_contact_sheet(folder, tmp_path):
    dls = colours(batch_tfms=Normalize()).dataloaders(folder, bs=12, seed=0)  # which shows all colours
    sheet = dls.show_batch()
    assert sheet.size == (3 * 168 + 8, 3 * 190 + 8)
    found = {c for _, c in sheet.getcolors(10**6)}
    assert found >= set(COLOURS.values()) | {(255, 255, 255)}
    assert dls.show_batch(max_n=4).size == (2 * 168 + 8, 2 * 190 + 8)
    assert dls.valid.show_batch(nrows=1, ncols=2).size == (2 * 168 + 8, 190 + 8)
    sheet.save(tmp_path / "sheet.png")
    words = contact_sheet([np.zeros((3, 4, 4)), np.ones((4, 4)) * 300], ["a very long title, too long for a cell", "b"])
    assert words.size == (2 * 168 + 8, 190 + 8)
    with pytest.raises(ValueError, match=r'backend is "pillow" or "matplotlib"; got "?\'?ascii'):
        dls.show_batch(backend="ascii")
    with pytest.raises(TypeError, match=r"\(C, H, W\) with C = 1 or 3, or \(H, W\); got \(2, 4, 4\)"):
        contact_sheet([np.zeros((2, 4, 4))], ["a"])
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([], [])


def test_matplotlib_when_asked(folder):
    pytest.importorskip("matplotlib", reason="matplotlib is optional")
    figure = colours().dataloaders(folder, bs=12).show_batch(max_n=4, backend="matplotlib")
    assert [a.get_title() in COLOURS for a in figure.axes] == [True] * 4


def test_test_dl_takes_items_and_inputs(folder):
    dls = colours().dataloaders(folder, bs=4)
    files = get_image_files(folder / "valid")[::-1]
    test = dls.test_dl(files)
    (x,) = next(iter(test))
    assert len(test) == 3 and x.shape == (4, 3, 8, 8)
    assert np.array_equal(x.numpy(), dls.valid.new(dls.valid_ds).one_batch()[0].numpy()[::-1]) is False
    labelled = dls.test_dl(files, with_labels=True)
    assert [v for _, y in labelled for v in y.tolist()] == [2] * 4 + [1] * 4 + [0] * 4
    one = files[0]
    for item in (one, str(one), one.read_bytes(), np.asarray(Image.open(one)), Image.open(one)):
        assert np.array_equal(dls.test_dl([item]).one_batch()[0].numpy(), x.numpy()[:1])
    table = DataBlock((ImageBlock, CategoryBlock), get_x=ColReader("f"), get_y=ColReader("y"), item_tfms=Resize(8))
    rows = [{"f": str(f), "y": f.parent.name} for f in files]
    dls = table.dataloaders(rows, bs=4)
    for item in (rows[0], one):  # get_x is for rows; a path is the input itself
        assert np.array_equal(dls.test_dl([item]).one_batch()[0].numpy(), x.numpy()[:1])


def test_new_empty_keeps_the_vocabulary_and_no_items(folder):
    dls = colours(batch_tfms=Normalize()).dataloaders(folder, bs=4)
    empty = dls.new_empty()
    assert empty.vocab == dls.vocab and len(empty.train_ds) == len(empty.valid_ds) == 0
    assert list(empty.train) == []
    file = get_image_files(folder)[0]
    assert np.array_equal(empty.test_dl([file]).one_batch()[0].numpy(), dls.test_dl([file]).one_batch()[0].numpy())


# summary


def test_summary_prints_the_road_with_real_values(folder, capsys):
    colours(batch_tfms=[Flip(), Normalize()]).summary(folder)
    text = capsys.readouterr().out
    road = [
        r"36 items: 24 for training, 12 for validation",
        r"learned from training: Categorize\(vocab=\['blue', 'green', 'red'\]\)",
        r"One item: .*blue_0.png",
        r"PILImage\(\) +image RGB 12x8",
        r"parent_label +'blue'",
        r"Categorize\S* .* 0",
        r"\(image RGB 12x8, 0\)",
        r"Resize.* \(image RGB 8x8, 0\)",
        r"ToTensor.* \(uint8 \(3, 8, 8\) in \[0, 255\], 0\)",
        r"A batch of 4",
        r"collate .*uint8 \(4, 3, 8, 8\) in \[0, 255\], int64 \(4,\) \[0, 0, 0, 0\]",
        r"IntToFloat.*float32 \(4, 3, 8, 8\) in \[0, 1\]",
        r"Flip",
        r"Normalize",
    ]
    place = 0
    for line in road:
        found = re.compile(line).search(text, place)
        assert found, f"{line} after {text[:place]}"
        place = found.end()


def test_summary_names_what_cannot_be_collated(folder, capsys):
    block = colours(item_tfms=None)
    with pytest.raises(
        ValueError, match=r"member 0 .*\(3, 8, 12\) of .*blue_0.png, \(3, 8, 13\) of .*blue_1.png.*Resize"
    ):
        block.summary(folder)
    assert "A batch of 4" in capsys.readouterr().out


# bad input


def test_ragged_images_are_named_with_their_shapes(folder):
    dls = colours(item_tfms=None).dataloaders(folder, bs=8)
    with pytest.raises(
        ValueError, match=r"got \d shapes: \(3, 8, \d+\) of item \d+ \(.*png\), .*item_tfms=Resize\(size\)"
    ):
        list(dls.train)


def test_an_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no images under .*; it holds 0 other files"):
        colours().dataloaders(tmp_path)
    with pytest.raises(ValueError, match=r"there are no items in \[\]"):
        DataBlock().datasets([])
    with pytest.raises(ValueError, match="the splitter leaves no training items of 3"):
        DataBlock(splitter=FuncSplitter(lambda o: True)).datasets([1, 2, 3])


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", ["text", "truncated"])
def test_a_corrupt_image_is_named(tmp_path, kind, num_workers):
    for i in range(8):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        picture("red", 64, 64).save(tmp_path / "ab"[i % 2] / f"{i}.jpg")
    bad = tmp_path / "b" / "5.jpg"
    bad.write_bytes(b"hello" if kind == "text" else bad.read_bytes()[:-200])
    dls = colours(splitter=IndexSplitter([0])).dataloaders(tmp_path, bs=7, num_workers=num_workers)
    with pytest.raises(
        ItemError, match=rf"^item \d \(.*5.jpg\): OSError: .*{re.escape(str(bad))} cannot be read as an image"
    ):
        list(dls.train)


def test_an_array_in_an_error_is_its_shape(folder):
    dls = colours().dataloaders(folder, bs=4)
    with pytest.raises(ItemError) as error:
        dls.test_dl([np.zeros((3, 32, 32), np.float32)]).one_batch()
    assert "ndarray of shape (3, 32, 32)" in str(error.value) and "0." not in str(error.value)


def test_one_class_only(tmp_path):
    (tmp_path / "cat").mkdir()
    for i in range(10):
        picture("red").save(tmp_path / "cat" / f"{i}.png")
    with pytest.raises(ValueError, match=r"two classes or more; all 8 training items are 'cat'; check get_y"):
        ImageDataLoaders.from_folder(tmp_path, valid_pct=0.2)


def test_a_label_that_training_does_not_have(folder, tmp_path):
    block = colours(splitter=FuncSplitter(lambda f: f.parent.name == "red" and f.stem == "red_3"))
    assert block.datasets(folder).vocab == ["blue", "green", "red"]
    block = colours(splitter=FuncSplitter(lambda f: f.parent.name == "red"))
    with pytest.raises(UnknownLabel) as e:
        block.dataloaders(folder)
    text = str(e.value)
    assert re.match(r"validation item .*red_0.png: label 'red' is not among the 2 classes of the training split", text)
    assert "['blue', 'green']; put an item of it in the training split (see splitter), or give every class" in text
    given = colours(blocks=(ImageBlock, CategoryBlock(vocab=["blue", "green", "red"])), splitter=block.splitter)
    assert given.datasets(folder).c == 3
    with pytest.raises(UnknownLabel, match=r"training item .*blue_0.png: label 'blue' .* 2 classes given in vocab=, "):
        colours(blocks=(ImageBlock, CategoryBlock(vocab=["green", "red"]))).datasets(folder)
    dls = colours().dataloaders(folder, bs=4)
    (tmp_path / "mauve").mkdir()
    picture("red").save(tmp_path / "mauve/1.png")
    with pytest.raises(UnknownLabel, match=r"^item 0 \(.*mauve/1.png\): label 'mauve' is not among the 3 classes"):
        dls.test_dl([tmp_path / "mauve/1.png"], with_labels=True).one_batch()


def test_a_label_function_that_fails_is_said_with_its_item(folder):
    for fails in ("train", "valid"):
        block = colours(get_y=lambda f: parent_label(f) if f.parent.parent.name != fails else f.name[99])  # noqa: B023
        with pytest.raises(ItemError, match=r"item .*/blue_0.png: IndexError: string index out of range"):
            block.datasets(folder)


def test_fewer_items_than_a_batch(folder):
    with pytest.raises(ValueError, match=r"n = 24 items make no full batch of bs = 64, .*pass bs=24 or less"):
        colours().dataloaders(folder)
    assert len(colours().dataloaders(folder, drop_last=False).train) == 1


def test_snippets_of_the_field(folder):
    files = get_image_files(folder)
    dls = ImageDataLoaders.from_name_func(
        folder, files, valid_pct=0.2, seed=42, label_func=lambda x: x[0] == "b", item_tfms=Resize(224), bs=4
    )
    assert dls.vocab == [False, True]
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        splitter=RandomSplitter(seed=42),
        get_y=using_attr(RegexLabeller(r"(.+)_\d+.png$"), "name"),
        item_tfms=Resize(46),
        batch_tfms=[Flip()],
    )
    assert block.dataloaders(folder / "train", bs=8).one_batch()[0].shape == (8, 3, 46, 46)
    tf.manual_seed(1)
    first = block.dataloaders(folder, bs=8).one_batch()[0].numpy()
    tf.manual_seed(1)
    assert np.array_equal(block.dataloaders(folder, bs=8).one_batch()[0].numpy(), first)
