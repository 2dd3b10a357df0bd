"""Residual networks: the counts and names that are known, what a block starts as, what a state carries over."""

import copy

import numpy as np
import pytest

import tinygrad_fast as tf
from tinygrad_fast import models, nn, rng

COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet56": 853_018,
    "resnet9": 6_573_120,
}


def small(stem="cifar", layers=(1, 1, 1, 1), block=models.BasicBlock, **options):
    """A ResNet cut down to what a test needs."""
    return models.ResNet(block, layers, num_classes=3, stem=stem, **options)


def image(n=2, size=16, channels=3, seed=0):
    return tf.randn(n, channels, size, size, generator=tf.Generator(seed))


@pytest.fixture(autouse=True)
def quick_draws(monkeypatch):
    """The same distributions from NumPy's generator: these tests draw many millions of numbers."""
    monkeypatch.setattr(rng, "uniform", lambda key, n: np.random.default_rng(key).random(n, np.float32))
    monkeypatch.setattr(rng, "normal", lambda key, n: np.random.default_rng(key).standard_normal(n, np.float32))


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name, monkeypatch):
    monkeypatch.setattr(rng, "normal", lambda key, n: np.zeros(n, np.float32))
    model = getattr(models, name)()
    assert sum(p.numel() for p in model.parameters()) == COUNTS[name]
    assert f"{COUNTS[name]:,} parameters" in getattr(models, name).__doc__


def test_names_and_shapes_are_those_of_torchvision():
    state = models.resnet18().state_dict()
    assert len(state) == 122
    assert list(state)[:7] == [
        *("conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked"),
        "layer1.0.conv1.weight",
    ]
    assert list(state)[-4:] == ["layer4.1.bn2.running_var", "layer4.1.bn2.num_batches_tracked", "fc.weight", "fc.bias"]
    shapes = {
        "conv1.weight": (64, 3, 7, 7),
        "layer2.0.conv1.weight": (128, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer2.0.downsample.1.running_mean": (128,),
        "layer4.1.conv2.weight": (512, 512, 3, 3),
        "fc.weight": (1000, 512),
    }
    assert {name: state[name].shape for name in shapes} == shapes
    assert not [name for name in state if name.startswith("layer1.0.downsample")]


def test_bottleneck_has_its_stride_on_the_3x3():
    model = small(block=models.Bottleneck)
    block = model.layer2[0]
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))
    assert block.conv3.weight.shape == (512, 128, 1, 1) and block.downsample[0].stride == (2, 2)
    assert "layer1.0.downsample.0.weight" in model.state_dict()  # 64 -> 256 channels
    assert model(image()).shape == (2, 3)


def test_stems_and_channels():
    assert small("imagenet").forward_features(image(1, 64)).shape == (1, 512, 2, 2)
    model = small("cifar", in_channels=1)
    assert model.forward_features(image(1, 16, 1)).shape == (1, 512, 2, 2)
    assert model.conv1.kernel_size == (3, 3) and isinstance(model.maxpool, nn.Identity)
    with pytest.raises(ValueError, match="stem: must be imagenet or cifar; got 'mnist'"):
        small("mnist")


def test_taken_apart_by_children():
    """The first eight children in a row are `forward_features`, as in torchvision."""
    model = small().eval()
    body = nn.Sequential(*list(model.children())[:-2])
    x = image()
    np.testing.assert_array_equal(body(x).detach().numpy(), model.forward_features(x).detach().numpy())


@pytest.mark.parametrize("block", [models.BasicBlock(8, 8), models.Bottleneck(8, 2)], ids=["basic", "bottleneck"])
def test_a_zeroed_residual_branch_leaves_the_identity(block):
    block.zero_init()
    x = image(2, 5, 8)
    for mode in (True, False):
        np.testing.assert_array_equal(block.train(mode)(x).detach().numpy(), x.relu().numpy())


def test_zero_init_residual():
    model = small(zero_init_residual=True)
    assert not model.layer3[0].bn2.weight.detach().numpy().any()
    assert small().layer3[0].bn2.weight.detach().numpy().all()
    x = tf.randn(2, 64, 4, 4).relu()
    np.testing.assert_array_equal(model.layer1(x).detach().numpy(), x.numpy())  # a whole stage without projection


def test_convolutions_are_drawn_by_fan_out():
    w = models.resnet20().layer3[2].conv1.weight.detach().numpy()  # 64 * 9 weights a channel
    assert abs(w.std() / np.sqrt(2 / (64 * 9)) - 1) < 0.02 and abs(w).max() > 3 * w.std()
    w = models.resnet20().layer2[0].conv1.weight.detach().numpy()  # 16 in, 32 out
    assert abs(w.std() / np.sqrt(2 / (32 * 9)) - 1) < 0.04


def test_shortcut_without_parameters():
    model = models.resnet20()
    x = image(2, 6, 16)
    y = model.layer2[0].shortcut(x)
    assert y.shape == (2, 32, 3, 3)
    np.testing.assert_array_equal(y[:, :16].numpy(), x.numpy()[:, :, ::2, ::2])
    assert not y[:, 16:].numpy().any()
    assert model.layer1[0].shortcut(x) is x
    assert not [name for name, _ in model.named_parameters() if "short" in name or "down" in name]


@pytest.mark.parametrize("name", ["resnet20", "resnet9"])
def test_small_models_train(name):
    tf.manual_seed(0)
    model = getattr(models, name)(num_classes=4)
    x, t = image(8, 8), tf.tensor([0, 1, 2, 3] * 2)
    opt = tf.optim.SGD(model.parameters(), lr=0.1 if name == "resnet20" else 0.02, momentum=0.9)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(model(x), t)
        opt.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        opt.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def fixed(state):
    """Weights that any framework can be given: waves, with the variance that keeps a signal alive."""
    new = {}
    for k, (name, t) in enumerate(state.items()):
        i = np.arange(t.numel())
        if t.ndim > 1:
            values = np.sin(i * (i + k)) * np.sqrt(2 / np.prod(t.shape[1:]))
        elif name.endswith("var") or (name.endswith("weight") and ("bn" in name or "downsample.1" in name)):
            values = 1 + 0.5 * np.cos(i + k)
        else:
            values = 0.1 * np.sin(i + k)
        new[name] = values.reshape(t.shape)
    return new


GOLDEN = {  # PyTorch 2.13, float64: loss in training, norm of its gradient, loss in eval after that step's statistics
    "resnet20": (models.resnet20, 16, [3.127865418, 19.25517215, 4.633006319]),
    "bottleneck": (
        lambda: models.ResNet(models.Bottleneck, (1,) * 4, 10),
        32,
        [3.521812489, 243.49548001, 2.857543747],
    ),
    "basic": (lambda: models.ResNet(models.BasicBlock, (1,) * 4, 10), 32, [3.16101936, 143.592752038, 3.189830421]),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_same_weights_same_losses_and_gradients_as_pytorch(name):
    make, size, expected = GOLDEN[name]
    model = make().double()
    counts = ("num_batches_tracked",)
    model.load_state_dict(fixed({k: v for k, v in model.state_dict().items() if not k.endswith(counts)}), strict=False)
    x = tf.tensor(np.cos(np.arange(4 * 3 * size * size) * 0.7).reshape(4, 3, size, size))
    loss = nn.functional.cross_entropy(model(x), tf.arange(4))
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1e9)
    after = nn.functional.cross_entropy(model.eval()(x), tf.arange(4))
    # float64 through twenty layers; the weights make some gradients large
    np.testing.assert_allclose([loss.item(), norm.item(), after.item()], expected, rtol=1e-8)


def test_resnet9_scale():
    a = models.resnet9(scale=1)
    b = models.resnet9()
    b.load_state_dict(a.state_dict())
    x = image(2, 16)
    np.testing.assert_allclose(a.eval()(x).detach().numpy() / 8, b.eval()(x).detach().numpy(), rtol=1e-6)
    assert [n for n, _ in b.named_parameters()][:4] == [
        *("prep.conv.weight", "prep.bn.weight", "prep.bn.bias", "layer1.0.conv.weight")
    ]


def test_state_goes_through_a_file_bit_for_bit(tmp_path):
    model, other = small(), small()
    model(image())
    tf.save(model.state_dict(), tmp_path / "w.safetensors")
    other.load_state_dict(tf.load(tmp_path / "w.safetensors"))
    for (name, a), b in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes(), name
    x = image(seed=1)
    np.testing.assert_array_equal(model.eval()(x).detach().numpy(), other.eval()(x).detach().numpy())


def test_another_number_of_classes_is_told():
    model = small()
    state = models.ResNet(models.BasicBlock, (1, 1, 1, 1), num_classes=5, stem="cifar").state_dict()
    with pytest.raises(
        RuntimeError, match=r"nothing was loaded\n  fc\.weight: must have shape \(3, 512\); got \(5, 512\)"
    ):
        model.load_state_dict(state)


def test_a_copy_is_another_model():
    model = small()
    twin = copy.deepcopy(model)
    model(image())
    assert model.bn1.num_batches_tracked.item() == 1 and twin.bn1.num_batches_tracked.item() == 0
    with tf.no_grad():
        twin.fc.bias.fill_(100)
    assert abs(model.fc.bias.detach().numpy()).max() < 1
    assert twin.conv1.weight.data.strides == model.conv1.weight.data.strides
