"""vision_learner: body, head and groups; and the names that one import brings."""

import re

import numpy as np
import pytest
from PIL import Image

import tinygrad_fast as tf
from tinygrad_fast import data, learner, models, nn
from tinygrad_fast.data import DataLoader, DataLoaders, TensorDataset
from tinygrad_fast.learner import CrossEntropyLossFlat, Learner, accuracy
from tinygrad_fast.models import CifarResNet, ResNet
from tinygrad_fast.models.resnet import BasicBlock
from tinygrad_fast.vision.learner import AdaptiveConcatPool2d, cnn_learner, create_head, vision_learner


def tiny(in_channels=3, num_classes=10):
    return CifarResNet(1, num_classes, in_channels, width=4)


def pictures(n=24, c=3, classes=2):
    """Bright and dark pictures."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    x = (rng.normal(size=(n, c, 16, 16)) * 0.1 + y[:, None, None, None]).astype(np.float32)
    dl = DataLoader(TensorDataset(x, y), bs=8)
    return DataLoaders(dl, dl)


def test_concat_pool():
    x = tf.tensor(np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4))
    assert AdaptiveConcatPool2d()(x).flatten().tolist() == [15, 7.5]  # the maximum first


def test_head():
    head = create_head(512, 2)
    assert sum(p.numel() for p in head.parameters()) == 528_384
    names = [type(m).__name__ for m in head]
    body = ["BatchNorm1d", "Dropout", "Linear", "ReLU", "BatchNorm1d", "Dropout", "Linear"]
    assert names == ["AdaptiveConcatPool2d", "Flatten", *body]
    assert (head[3].p, head[7].p) == (0.25, 0.5)
    assert head[4].bias is None
    assert create_head(4, 2)(tf.randn(3, 4, 5, 5)).shape == (3, 2)


def test_head_options():
    head = create_head(8, 1, lin_ftrs=[16, 4], ps=[0.1, 0.2, 0.0], concat_pool=False, first_bn=False, y_range=(0, 5))
    assert [(m.in_features, m.out_features) for m in head if isinstance(m, nn.Linear)] == [(8, 16), (16, 4), (4, 1)]
    y = head.eval()(100 * tf.randn(4, 8, 2, 2))
    assert (y >= 0).all() and (y <= 5).all()
    with pytest.raises(ValueError, match="ps is one number, or one for each of the 2 layers; got 3"):
        create_head(8, 1, ps=[0.1, 0.1, 0.1])


def test_vision_learner_trains():
    tf.manual_seed(0)
    learn = vision_learner(pictures(), tiny, n_out=2, loss_func=CrossEntropyLossFlat(), metrics=accuracy)
    assert all(p.requires_grad for p in learn.model.parameters())
    learn.fine_tune(4, 1e-2)
    assert learn.validate()[1] == 1.0
    assert len(learn.get_hyper("lr")) == 2  # body, head


def test_grey_pictures():
    tf.manual_seed(0)
    learn = vision_learner(pictures(c=1), tiny, n_out=2, n_in=1, loss_func=CrossEntropyLossFlat(), metrics=accuracy)
    learn.unfreeze()
    learn.fit_one_cycle(12, 1e-2)
    assert learn.model[0].net.conv1.weight.shape[1] == 1 and learn.validate()[1] == 1.0


def test_groups_of_a_resnet():
    learn = cnn_learner(pictures(), lambda: ResNet(BasicBlock, (1, 1, 1, 1)), n_out=2, loss_func=CrossEntropyLossFlat())
    early, late, head = learn.splitter(learn.model)
    net = learn.model[0].net
    late_ids = {id(p) for layer in (net.layer3, net.layer4) for p in layer.parameters()}
    assert {id(p) for p in late} == late_ids
    assert len(early) + len(late) + len(head) == len(list(learn.model.parameters()))
    assert id(net.conv1.weight) in {id(p) for p in early}


def test_own_weights(tmp_path):
    """Trained on three classes as a plain model, used for two under a new head."""
    tf.manual_seed(0)
    first = Learner(pictures(classes=3), tiny(num_classes=3), CrossEntropyLossFlat(), path=tmp_path)
    first.fit(1)
    file = first.save("shapes")
    learn = vision_learner(pictures(), tiny, n_out=2, pretrained=file, loss_func=CrossEntropyLossFlat(), path=tmp_path)
    body = learn.model[0].net
    assert np.array_equal(body.conv1.weight.detach().numpy(), first.model.conv1.weight.detach().numpy())
    frozen = {name for name, p in learn.model.named_parameters() if not p.requires_grad}
    assert frozen == {"0.net.conv1.weight"} | {f"0.net.layer{i}.0.conv{j}.weight" for i in (1, 2, 3) for j in (1, 2)}
    again = vision_learner(  # a body that was saved with a head of its own
        pictures(), tiny, n_out=2, pretrained=learn.save("body"), loss_func=CrossEntropyLossFlat()
    )
    assert np.array_equal(again.model[0].net.bn1.running_mean.numpy(), body.bn1.running_mean.numpy())
    with pytest.raises(ValueError, match=r"lacks 36 of the 78 names of CifarResNet, layer1.1.conv1.weight first"):
        vision_learner(pictures(), lambda: CifarResNet(2, width=4), n_out=2, pretrained=file)


def test_no_model_zoo():
    with pytest.raises(ValueError, match=re.escape("there is no model zoo, so pretrained is a file of weights")):
        vision_learner(pictures(), tiny, n_out=2, pretrained=True)
    with pytest.raises(TypeError, match=r"the architecture has forward_features\(x\).*Sequential has none"):
        vision_learner(pictures(), lambda: nn.Sequential(nn.Conv2d(3, 2, 3)), n_out=2)


def test_one_import_brings_everything():
    names = {}
    exec("from tinygrad_fast.vision.all import *", names)
    for package in (data, learner, models):
        assert set(package.__all__) <= set(names)
    assert {"tf", "nn", "F", "optim", "np", "Path", "partial", "tensor", "cnn_learner", "vision_learner"} <= set(names)
    assert names["tf"] is tf
    assert names["np"] is np
    exp, x = names["exp"], tf.randn(2, 3)
    assert tf.allclose(exp(x) / exp(x).sum(dim=1, keepdim=True), x.softmax(dim=1), atol=1e-6)


def test_the_first_lesson(tmp_path):
    """Cats have names in capitals: from files to a prediction, in the words of the course."""
    names = {}
    exec("from tinygrad_fast.vision.all import *", names)
    rng = np.random.default_rng(0)
    for i in range(20):
        name, level = (f"Cat_{i}.png", 200) if i % 2 else (f"dog_{i}.png", 50)
        pixels = (rng.normal(size=(20, 24, 3)) * 10 + level).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    names |= {"path": tmp_path, "small": lambda: ResNet(BasicBlock, (1, 1, 1, 1), stem="cifar")}
    exec(
        """if True:
        tf.manual_seed(0)
        def is_cat(x): return x[0].isupper()
        dls = ImageDataLoaders.from_name_func(
            path, get_image_files(path), valid_pct=0.2, seed=42, label_func=is_cat, item_tfms=Resize(16), bs=8)
        learn = cnn_learner(dls, small, metrics=error_rate)
        learn.fine_tune(1)
        answer = learn.predict(path / "Cat_1.png")
        interp = ClassificationInterpretation.from_learner(learn)
        """,
        names,
    )
    label, index, probabilities = names["answer"]
    assert label is bool(index.item())
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-6)
    assert names["learn"].recorder.metric_names[3] == "error_rate"
    assert names["interp"].confusion_matrix().sum() == 4


def test_several_labels():
    """The answer is the list of labels above the threshold."""
    items = [
        (np.array([a, b], np.float32), [n for n, v in (("a", a), ("b", b)) if v > 0]) for a in (-1, 1) for b in (-1, 1)
    ]
    block = data.DataBlock(
        (data.TransformBlock, data.MultiCategoryBlock),
        get_x=lambda o: o[0],
        get_y=lambda o: o[1],
        splitter=data.IndexSplitter([0]),
    )
    dls = block.dataloaders(items, bs=3, num_workers=0)
    learn = Learner(dls, nn.Linear(2, dls.c), metrics=learner.accuracy_multi)
    learn.model.weight.detach().copy_(5 * tf.eye(2))
    learn.model.bias.detach().zero_()
    labels, which, probabilities = learn.predict(np.array([1.0, -1.0], np.float32))
    assert labels == ["a"]
    assert which.tolist() == [True, False]
    assert probabilities.tolist() == pytest.approx([1 / (1 + np.exp(-5)), 1 / (1 + np.exp(5))], rel=1e-4)
    assert learn.predict(np.array([-1.0, -1.0], np.float32))[0] == []
    assert learn.validate()[1] == 1
