"""learn.export and load_learner: a file that predicts, with no item, no code and nothing to train by in it."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import tinygrad_fast as tf
from tinygrad_fast import nn
from tinygrad_fast.vision.all import (
    BCEWithLogitsLossFlat,
    CategoryBlock,
    CrossEntropyLossFlat,
    DataBlock,
    DataLoader,
    DataLoaders,
    F,
    ImageBlock,
    Learner,
    MSELossFlat,
    MultiCategoryBlock,
    Normalize,
    RegressionBlock,
    Resize,
    TensorDataset,
    aug_transforms,
    get_image_files,
    imagenet_stats,
    load_learner,
    parent_label,
    resnet8,
    resnet18,
    vision_learner,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for label in ("cat", "dog", "eel"):
        (folder / label).mkdir()
        for i in range(8):
            Image.fromarray(rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)).save(folder / label / f"secret{i}.png")
    return folder


TARGETS = {
    "category": (CategoryBlock, parent_label, 3),
    "multicategory": (MultiCategoryBlock, lambda file: [parent_label(file), "animal"], 4),
    "number": (RegressionBlock(2), lambda file: [len(file.name), 0.5], 2),
}


def loaders(folder, target="category", item_tfms=None):
    block, get_y, _ = TARGETS[target]
    plan = DataBlock(
        blocks=(ImageBlock, block),
        get_items=get_image_files,
        get_y=get_y,
        item_tfms=[Resize(24), *(item_tfms or ())],
        batch_tfms=[*aug_transforms(), Normalize.from_stats(*imagenet_stats)],
    )
    return plan.dataloaders(folder, bs=6, num_workers=0, path=folder)


def trained(folder, target="category"):
    learn = Learner(loaders(folder, target), resnet8(num_classes=TARGETS[target][2]))
    with learn.no_bar():
        learn.fit(1, 1e-3)
    return learn


def same(a, b):
    assert a[0] == b[0]
    for x, y in zip(a[1:], b[1:], strict=True):
        np.testing.assert_array_equal(x.numpy(), y.numpy())


@pytest.mark.parametrize("target", TARGETS)
def test_what_comes_back_predicts_the_same(folder, tmp_path, target):
    learn = trained(folder, target)
    file, before = learn.dls.valid_ds.items[0], {name: t.clone() for name, t in learn.model.state_dict().items()}
    want, path = learn.predict(file), learn.export(tmp_path / "model")
    assert path == tmp_path / "model.safetensors"
    back = load_learner(path)
    same(back.predict(file), want)
    same(back.predict(file.read_bytes()), want)
    assert back.dls.c == learn.dls.c and back.dls.kinds == learn.dls.kinds
    preds, targets = back.get_preds(dl=back.dls.test_dl(learn.dls.valid_ds.items))
    assert targets is None and len(preds) == len(learn.dls.valid_ds)
    for name, t in learn.model.state_dict().items():  # and nothing has happened to what was exported
        np.testing.assert_array_equal(t.numpy(), before[name].numpy())
    with learn.no_bar():
        learn.fit(1, 1e-3)
    with pytest.raises(ValueError, match="fit: the training loader has no batches"):
        back.fit(1)


def test_a_new_process_predicts_the_same(folder, tmp_path):
    learn = trained(folder)
    file = learn.dls.valid_ds.items[0]
    code = "import sys; from tinygrad_fast.vision.all import load_learner; learn = load_learner(sys.argv[1])\n"
    code += "print(learn.predict(sys.argv[2])[0], learn.predict(sys.argv[2])[2].tolist())"
    run = [sys.executable, "-c", code, learn.export(tmp_path / "model"), file]
    label, _, probabilities = learn.predict(file)
    said = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    assert said == f"{label} {probabilities.tolist()}\n"


def test_no_item_and_no_optimiser_is_in_the_file(folder, tmp_path):
    learn = trained(folder)
    data = learn.export(tmp_path / "model").read_bytes()
    assert b"secret" not in data and b"exp_avg" not in data and b"eel" in data
    assert len(data) < learn.save("model", with_opt=False).stat().st_size + 40_000


def test_a_transferred_model_with_its_head(folder, tmp_path):
    learn = vision_learner(loaders(folder), resnet18, pretrained=False)
    file = learn.dls.valid_ds.items[0]
    back = load_learner(learn.export(tmp_path / "model"))
    same(back.predict(file), learn.predict(file))
    assert repr(back.model) == repr(learn.model)
    weights = zip(back.model.parameters(), learn.model.parameters(), strict=True)
    assert all(a.data.strides == b.data.strides for a, b in weights)  # as convolutions want them


class Twice(nn.Module):
    """A model of one's own: a layer that has two names, a buffer, and a dict."""

    def __init__(self):
        self.a = self.b = nn.Linear(4, 4)
        self.register_buffer("shift", tf.tensor([1.0, 2.0, 3.0, 4.0]))
        self.more = {"relu": nn.ReLU(), 2: (tf.float32, np.float32(0.5), nn.functional.relu)}

    def forward(self, x):
        _, scale, relu = self.more[2]
        return relu(self.b(self.more["relu"](self.a(x))) * float(scale) + self.shift)


def arrays(model, loss=None):
    x = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    loader = DataLoader(TensorDataset(x, np.arange(8) % 4), bs=4)
    return Learner(DataLoaders(loader, loader), model, loss or CrossEntropyLossFlat())


def test_a_model_of_ones_own_and_plain_arrays(tmp_path):
    learn = arrays(Twice(), CrossEntropyLossFlat(weight=tf.ones(4), label_smoothing=0.1))
    learn.model.a.weight.requires_grad_(False)
    back = load_learner(learn.export(tmp_path / "model"))
    assert back.model.a is back.model.b and back.model.more[2][0] == tf.float32
    assert not back.model.a.weight.requires_grad and back.model.a.bias.requires_grad
    assert back.loss_func.label_smoothing == 0.1 and back.loss_func.weight.tolist() == [1.0] * 4
    x = np.ones(4, np.float32)
    same(back.predict(x), learn.predict(x))


def test_the_threshold_of_a_loss_comes_along(folder, tmp_path):
    learn = trained(folder, "multicategory")
    learn.loss_func = BCEWithLogitsLossFlat(thresh=0.0)
    file = learn.dls.valid_ds.items[0]
    assert load_learner(learn.export(tmp_path / "model")).predict(file)[0] == ["animal", "cat", "dog", "eel"]


def hooked():
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].register_forward_hook(lambda *_: None)
    return arrays(model)


def local():
    class Local(nn.Linear):
        pass

    return arrays(Local(4, 4))


def with_a_function(folder):
    return Learner(loaders(folder, item_tfms=[abs]), resnet8(num_classes=3))


def with_collate_fn(_):
    dl = DataLoader(
        TensorDataset(np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)), 2, collate_fn=lambda s: s
    )
    return Learner(DataLoaders(dl, dl), nn.Linear(4, 4), MSELossFlat())


def test_a_method_that_was_replaced_is_not_exported(tmp_path):
    learn = arrays(nn.Linear(4, 4))
    learn.model.forward = F.relu
    with pytest.raises(TypeError, match=r"export: learner\['model'\].forward hides a method of its class"):
        learn.export(tmp_path / "model")


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda _: arrays(nn.Linear(4, 4), lambda pred, targ: pred.sum()), r"learner\['loss_func'\] is <lambda>"),
        (lambda _: hooked(), r"learner\['model'\]\S+\._hooks\[\d+\] is hooked.<locals>.<lambda>"),
        (lambda _: local(), r"learner\['model'\] is a local.<locals>.Local"),
        (with_collate_fn, r"learner\['collate_fn'\] is with_collate_fn.<locals>.<lambda>"),
        (with_a_function, r"learner\['items'\]\[\d\].func is abs"),
    ],
)
def test_what_cannot_be_written_is_named_and_nothing_is_written(folder, tmp_path, make, says):
    with pytest.raises(TypeError, match=f"export: {says}.*what can be written are numbers"):
        make(folder).export(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_loaders_of_ones_own():
    learn = arrays(nn.Linear(4, 4))
    learn.dls.valid.dataset = [(tf.ones(4), 1)]
    with pytest.raises(TypeError, match="export: the loaders must be of Datasets .* or a TensorDataset; got list"):
        learn.export()


def of_model(saved, name):
    dict(saved["learner"]["of"])["model"]["of"] = name


def with_a_function_for(saved, name, place):
    """A file that would have `place` call a function of its choice."""
    chosen = {"is": "function", "of": "tinygrad_fast.data.files:read_csv"}
    dict(saved["learner"]["of"])[name]["with"][place] = chosen


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda saved: saved.update(export=2), "is of format 2, and this version reads 1"),
        (lambda saved: saved.pop("export"), "is not of learn.export; what learn.save wrote is for learn.load"),
        (lambda saved: saved["learner"]["of"].pop(), "is not as learn.export writes it: KeyError: 'batches'"),
        (lambda saved: dict(saved["learner"]["of"])["model"].pop("is"), "is not as learn.export writes it: KeyError"),
        (lambda saved: of_model(saved, "os:system"), "names os:system, which is no class that it may hold"),
        (lambda saved: of_model(saved, "tinygrad_fast.checkpoint:save"), "names .*:save, which is no class"),
        (
            lambda saved: with_a_function_for(saved, "loss_func", "decodes"),
            "puts something in the place of .*decodes, a m",
        ),
        (
            lambda saved: with_a_function_for(saved, "loss_func", "own"),
            "names .*read_csv, which is no function of .*nn.f",
        ),
        (lambda saved: of_model(saved, "my.net:Net"), "needs Net of my.net, which is not there. Import it first"),
        (lambda saved: of_model(saved, "tinygrad_fast.nn:Linaer"), "needs Linaer of tinygrad_fast.nn"),
        (lambda saved: of_model(saved, "tinygrad_fast.no:Linear"), "needs Linear of tinygrad_fast.no"),
    ],
)
def test_files_that_are_refused(tmp_path, change, says):
    path = arrays(nn.Linear(4, 4)).export(tmp_path / "model")
    saved = tf.load(path)
    change(saved)
    tf.save(saved, path)
    with pytest.raises(ValueError, match=f"load_learner: .*model.safetensors {says}"):
        load_learner(path)


def test_a_file_that_is_cut_short(tmp_path):
    path = arrays(nn.Linear(4, 4)).export(tmp_path / "model")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="is cut short or damaged"):
        load_learner(path)
