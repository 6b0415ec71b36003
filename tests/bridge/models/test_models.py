import inspect
import math
import re
import sys

import children
import numpy as np
import pytest
import torch
from paths import ROOT
from torch import nn

import dlinear
from dlinear.bridge.models import NAMES, DeepStack, FourierPath, Stack, TaskShape, model, register, registry
from dlinear.bridge.models.readouts import READOUTS, Exits, Fixed, Pool, Shared
from dlinear.bridge.models.seeding import seeded, semi_orthogonal
from dlinear.errors import DataError, DomainError, HorizonError, MissingDependencyError, ShapeError

ZOO = ("resnet50", "vit")
TINY = {
    "linear": (TaskShape((6,), 3), {"depth": 4, "width": 5}),
    "mlp": (TaskShape((1,), 4), {"depth": 4, "width": 5}),
    "resnet62": (TaskShape((3, 8, 8), 5), {"depth_per_stage": 2, "base_channels": 4}),
    "deep": (TaskShape((1, 3, 3), 3), {"depth": 5, "width": 6}),
    "gru": (TaskShape((1, 2, 4), 3), {"depth": 4, "width": 5}),
    "graph": (TaskShape((1,), 3), {"depth": 4, "width": 5}),
    "conv": (TaskShape((3, 8, 8), 5), {"depth": 3, "width": 4, "patch": 2}),
    "autoencoder": (TaskShape((9,), 9), {"depth": 5, "width": 9, "code": 2}),
    "layers": (TaskShape((1, 2, 3), 3), {"depth": 3, "width": 5}),
    "conv_layers": (TaskShape((2, 6, 4), 3), {"depth": 4, "width": 4, "kernel": 3}),
    "small_resnet50": (TaskShape((3, 8, 8), 5), {"depth_per_stage": 1, "base_channels": 2}),
    "small_vit": (TaskShape((1, 4, 4), 5), {"depth": 3, "width": 8, "heads": 2}),
    "resnet50": (
        TaskShape((3, 32, 32), 5),
        {"config": {"embedding_size": 4, "hidden_sizes": [8, 16], "depths": [1, 2]}},
    ),
    "vit": (
        TaskShape((3, 8, 8), 5),
        {
            "config": {
                "hidden_size": 16,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "intermediate_size": 24,
                "image_size": 8,
                "patch_size": 4,
            }
        },
    ),
}


def tiny(name, seed=0, **change):
    if name in ZOO:
        pytest.importorskip("transformers")
    if name == "vit":
        pytest.importorskip("peft")
    task, knobs = TINY[name]
    return model(name, task, seed, **(knobs | change)), task


def batch(task, count=7, dtype=torch.float32, seed=5):
    if task == TINY["graph"][0]:
        return torch.arange(count)[:, None].to(dtype)  # numbers of nodes
    return torch.randn(count, *task.inputs, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def states(stack, x):
    out = [x]
    for block in stack.blocks:
        out.append(block(out[-1]))
    return out


def same(a, b):
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


# What every model keeps


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_the_readout_maps_every_state_to_the_space_of_the_loss(name, readout):
    if (name, readout) == ("vit", "fixed"):
        with pytest.raises(DomainError, match="readout of vit must be one of shared, exits"):
            tiny(name, readout=readout)
        return
    stack, task = tiny(name, readout=readout)
    assert isinstance(stack, Stack)
    assert isinstance(stack.blocks, nn.ModuleList)
    stack.eval()
    x = states(stack, batch(task))
    assert stack.depth == len(stack.blocks) == len(x) - 1
    for s in range(1, stack.depth + 1):
        assert stack.readout(x[s], s).shape == (7, task.outputs), s
    assert torch.equal(stack(x[0]), stack.readout(x[-1], stack.depth))
    assert bool(list(stack.readout.parameters())) == (readout != "fixed")


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_alone_determines_the_numbers(name):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, _ = tiny(name, seed=3)
    assert torch.equal(torch.get_rng_state(), before), "the global generator moved"
    torch.randn(11)
    torch.set_default_dtype(torch.float64)
    try:
        second, _ = tiny(name, seed=3)
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(first, second)
    assert not same(first, tiny(name, seed=4)[0])


@pytest.mark.parametrize("name", NAMES)
def test_both_precisions_hold_the_same_numbers(name):
    one, task = tiny(name)
    two, _ = tiny(name, dtype=torch.float64)
    assert {t.dtype for t in two.state_dict().values() if t.is_floating_point()} == {torch.float64}
    assert all(
        torch.equal(a, b.to(a.dtype))
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )
    assert two.eval()(batch(task, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("name", NAMES)
def test_every_trained_parameter_meets_the_loss(name):
    stack, task = tiny(name)
    stack(batch(task)).square().sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in stack.parameters())


def test_seeding_leaves_nothing_behind_after_an_error():
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(RuntimeError), seeded(0):
            torch.zeros(2) @ torch.zeros(3)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda t: model("resnet", t),
            DomainError,
            "unknown model 'resnet'; the names are autoencoder, conv, conv_layers, deep, graph, gru, layers,",
        ),
        (
            lambda t: model("mlp", t, widht=3),
            DomainError,
            "mlp has no knob 'widht'; its knobs are depth, ",
        ),
        (lambda t: model("mlp", t, -1), DomainError, "seed is .*; expected an integer in 0"),
        (lambda t: model("mlp", t, True), DomainError, "seed is .*; expected an integer in 0"),
        (lambda t: model("mlp", t, dtype=torch.int64), DomainError, "floating torch dtype, not torch.int64"),
        (lambda t: model("mlp", t, readout="none"), DomainError, "fixed, shared, exits, not 'none'"),
        (lambda t: model("mlp", t, depth=1), DomainError, "depth is 1; expected an integer >= 2"),
        (lambda t: model("mlp", t, width=2.5), DomainError, "width is 2.5; expected an integer >= 1"),
        (
            lambda t: model("resnet62", t),
            ShapeError,
            r"takes images .*, not inputs \(6,\)",
        ),
        (
            lambda t: model("resnet62", TaskShape((3, 8, 8), 2), depth_per_stage=0),
            DomainError,
            "stage is 0; expected",
        ),
        (
            lambda t: model("conv", TaskShape((3, 9, 8), 2), patch=4),
            ShapeError,
            r"patches of 4 x 4 divide, not inputs \(3, 9, 8\)",
        ),
        (lambda t: model("conv", t), ShapeError, r"conv takes images .*, not inputs \(6,\)"),
        (lambda t: model("conv", t, activation="selu"), DomainError, "unknown activation 'selu'"),
        (lambda t: model("autoencoder", t, depth=2), DomainError, "depth is 2; expected an integer >= 3"),
        (lambda t: model("autoencoder", t, width=4, code=5), DomainError, "code is 5; expected .* 1..4"),
        (
            lambda t: model("deep", t, activation="selu"),
            DomainError,
            "tanh, relu, gelu, not 'selu'",
        ),
        (lambda t: model("deep", t, layers="flat"), DomainError, "smooth, rough, mixed"),
        (lambda t: model("deep", t, scale="1/T^2"), DomainError, r"1/T, 1/sqrt\(T\)"),
        (lambda t: model("deep", t, depth=0), DomainError, "depth"),
        (lambda t: model("deep", t, path=FourierPath(64, 0)), DomainError, "rough layers have no path"),
        (lambda t: model("deep", t, layers="smooth", path=FourierPath(3, 0)), ShapeError, "width 3"),
        (lambda t: TaskShape((), 3), ShapeError, "inputs is empty"),
        (lambda t: TaskShape((3, 0), 3), ShapeError, "a size of inputs is 0; expected an integer >= 1"),
        (lambda t: Stack([], nn.Identity()), ShapeError, "at least one block"),
    ],
)
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call(TaskShape((6,), 3))
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    words = r'^the model .* needs transformers: pip install "dlinear\[zoo\]"$'
    for name in ZOO:
        with pytest.raises(MissingDependencyError, match=words):
            model(name, TINY[name][0])


def test_peft_is_needed_by_lora_alone(monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setitem(sys.modules, "peft", None)
    task, knobs = TINY["vit"]
    with pytest.raises(MissingDependencyError, match=r'needs peft: pip install "dlinear\[zoo\]"$'):
        model("vit", task, **knobs)
    model("vit", task, lora_rank=0, **knobs)


@pytest.mark.slow
def test_the_zoo_is_imported_when_it_is_asked_for():
    code = "import sys, dlinear.bridge.models; print('transformers' in sys.modules, 'peft' in sys.modules)"
    out = children.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert out.stdout.split() == ["False", "False"]


def test_every_builder_documents_itself():
    for name, builder in registry._BUILDERS.items():
        assert inspect.getdoc(builder), name


def test_a_model_from_outside_the_package_is_known_by_name(monkeypatch):
    """One builder is all that the registry needs of a model: seeding, precision and knobs follow."""
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))

    def plain(task, seed, *, depth=2):
        """Square layers, then a trained head."""
        return Stack([nn.Linear(task.features, task.features) for _ in range(depth)], Shared(nn.Identity()))

    register("plain", plain)
    register("plain", plain)  # again: nothing happens
    stack = model("plain", TaskShape((3,), 3), 5, depth=4, dtype=torch.float64)
    again = model("plain", TaskShape((3,), 3), 5, depth=4, dtype=torch.float64)
    assert stack.depth == 4
    assert stack.blocks[0].weight.dtype == torch.float64
    assert all(torch.equal(a, b) for a, b in zip(stack.parameters(), again.parameters(), strict=True))
    with pytest.raises(DomainError, match="plain has no knob 'width'; its knobs are depth"):
        model("plain", TaskShape((3,), 3), width=4)
    with pytest.raises(DomainError, match=r"the names are .*plain.*did you mean plain"):
        model("plane", TaskShape((3,), 3))
    with pytest.raises(DomainError, match="'deep' exists already"):
        register("deep", plain)
    for bad in ("", None):
        with pytest.raises(DomainError, match="expected a word"):
            register(bad, plain)


def test_every_file_of_models_with_builders_is_collected():
    """A file that ends with BUILDERS is found without being named anywhere."""
    folder = ROOT / "dlinear" / "bridge" / "models"
    ends = {p.stem for p in folder.glob("*.py") if re.search(r"^BUILDERS = ", p.read_text(), re.MULTILINE)}
    assert {builder.__module__.rpartition(".")[2] for builder in registry._BUILDERS.values()} == ends
    assert list(NAMES) == sorted(registry._BUILDERS) == sorted(TINY)


# Readouts


def test_pooling_is_linear_and_pads_with_zeros():
    z = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert torch.equal(Pool(5)(z), torch.tensor([[1.5, 5.5, 9.5, 0, 0], [13.5, 17.5, 21.5, 0, 0]]))
    with pytest.raises(ShapeError, match="3 channels; the readout takes at most 2"):
        Pool(2)(z)


def test_exits_have_a_head_each():
    heads = [nn.Linear(2, 2) for _ in range(3)]
    exits, z = Exits(heads), torch.randn(4, 2)
    assert all(torch.equal(exits(z, s), heads[s - 1](z)) for s in (1, 2, 3))
    for s in (0, -1, 4):
        with pytest.raises(HorizonError, match=rf"x\({s}\)"):
            exits(z, s)


def test_a_last_block_that_maps_to_the_outputs_gets_no_head():
    stack, task = tiny("mlp", readout="exits")
    z = states(stack, batch(task))[-1]
    assert stack.readout(z, stack.depth) is z
    wide, _ = tiny("deep", readout="exits")
    assert sum(p.numel() for p in wide.readout.parameters()) == 5 * (6 * 3 + 3)


def test_the_fixed_readout_is_a_semi_orthogonal_projection():
    for outputs, width in ((3, 8), (8, 3)):
        fixed = Fixed(width, outputs, seed=1)
        gram = fixed.matrix @ fixed.matrix.T if outputs < width else fixed.matrix.T @ fixed.matrix
        assert torch.allclose(gram, torch.eye(3, dtype=torch.float64), atol=1e-14)
        z = torch.randn(4, width, dtype=torch.float64)
        assert torch.allclose(fixed(z, 1), z @ fixed.matrix.T, atol=1e-14)
        own = torch.randn(4, outputs)
        assert fixed(own, 2) is own
    assert not torch.equal(Fixed(8, 3, 1).matrix, Fixed(8, 3, 2).matrix)
    assert not torch.equal(semi_orthogonal(3, 8, 1, 101), semi_orthogonal(3, 8, 1, 102))


# The networks of appendix D.1


def shape_of_d1():
    return {name: model(name, TaskShape((10,), 10)) for name in ("linear", "mlp")}


def test_d1_has_fifteen_layers_of_width_ten():
    for name, stack in shape_of_d1().items():
        assert stack.depth == 15
        assert [tuple(b.linear.weight.shape) for b in stack.blocks] == [(10, 10)] * 15
        assert all((b.linear.bias is not None) == (name == "mlp") for b in stack.blocks)
    wave = model("mlp", TaskShape((1,), 4))
    assert [tuple(b.linear.weight.shape) for b in wave.blocks] == [(10, 1), *[(10, 10)] * 13, (4, 10)]


@pytest.mark.parametrize("task", [TaskShape((6,), 3), TaskShape((5,), 5)])
def test_the_linear_network_is_the_product_of_its_matrices(task):
    """Also where the first and the last layer could have a residual connection: they have none."""
    stack = model("linear", task, depth=4, width=5, dtype=torch.float64)
    first, *middle, last = (b.linear.weight.detach().numpy() for b in stack.blocks)
    product = first
    for weight in middle:
        product = (np.eye(5) + weight) @ product
    x = batch(task, dtype=torch.float64)
    expected = x.numpy() @ (last @ product).T
    assert np.allclose(stack(x).detach().numpy(), expected, rtol=0, atol=1e-14)


def test_the_mlp_adds_its_activation_to_the_state():
    stack, _ = tiny("mlp", dtype=torch.float64)
    rng = np.random.default_rng(0)
    for p in stack.parameters():
        p.data = torch.from_numpy(rng.normal(size=p.shape))  # biases too
    layers = [(b.linear.weight.detach().numpy(), b.linear.bias.detach().numpy()) for b in stack.blocks]
    x = rng.normal(size=(7, 1))
    z = np.maximum(x @ layers[0][0].T + layers[0][1], 0)
    for weight, bias in layers[1:-1]:
        z = z + np.maximum(z @ weight.T + bias, 0)
    z = z @ layers[-1][0].T + layers[-1][1]
    assert np.allclose(stack(torch.from_numpy(x)).detach().numpy(), z, rtol=1e-13)
    assert (z < 0).any(), "the last layer has no activation"


def test_the_draw_is_glorots_and_the_residual_layers_are_divided_by_the_depth():
    kinds = {"depth": 6, "width": 60}
    task = TaskShape((20,), 30)
    plain, scaled = (model("mlp", task, 1, gain=gain, **kinds) for gain in (1.0, None))
    for t, (a, b) in enumerate(zip(plain.blocks, scaled.blocks, strict=True)):
        bound = math.sqrt(6 / sum(a.linear.weight.shape))
        assert 0.98 * bound < a.linear.weight.abs().max() <= bound
        factor = 1 / 6 if 0 < t < 5 else 1.0
        assert torch.allclose(b.linear.weight, a.linear.weight * factor)
        assert not a.linear.bias.any()


# ResNet-62


def test_resnet62_is_table_d1():
    stack = model("resnet62", TaskShape((3, 32, 32), 10))
    assert stack.depth == 30
    convolutions = [[m for m in block.modules() if isinstance(m, nn.Conv2d)] for block in stack.blocks]
    assert [len(c) for c in convolutions] == [3 if t % 10 == 0 else 2 for t in range(30)]
    assert sum(map(len, convolutions)) == 63
    assert [c[0].stride for c in convolutions] == [(2, 2) if t in (10, 20) else (1, 1) for t in range(30)]
    stack.eval()
    with torch.no_grad():
        shapes = [tuple(z.shape[1:]) for z in states(stack, torch.zeros(1, 3, 32, 32))]
    assert shapes == [(3, 32, 32), *[(16, 32, 32)] * 10, *[(32, 16, 16)] * 10, *[(64, 8, 8)] * 10]
    # entry 9 c' c and 20 convolutions 9 c c in each stage, two numbers of each batch norm for each channel
    before, total = 3, 64 * 10 + 10
    for c in (16, 32, 64):
        total += 9 * before * c + 20 * 9 * c * c + 21 * 2 * c
        before = c
    assert sum(p.numel() for p in stack.parameters()) == total == 996_506


def test_a_block_is_the_residual_block_of_figure_d1():
    stack, task = tiny("resnet62", dtype=torch.float64)
    stack.eval()
    block = stack.blocks[2]  # the first of stage 2
    rng = np.random.default_rng(1)
    for name, buffer in block.named_buffers():
        if buffer.is_floating_point():
            low, high = (-0.5, 0.5) if name.endswith("mean") else (0.5, 2.0)
            buffer.copy_(torch.from_numpy(rng.uniform(low, high, size=buffer.shape)))

    def layer(z, at, norm, stride=1):
        z = nn.functional.conv2d(z, at.weight, stride=stride, padding=1)
        column = (slice(None), None, None)
        return (z - norm.running_mean[column]) / (norm.running_var[column] + 1e-5).sqrt()

    x = states(stack, batch(task, dtype=torch.float64))[2]
    entry, branch = block.entry, block.branch
    z = layer(x, entry[0], entry[1], stride=2).clamp_min(0)
    expected = (z + layer(layer(z, branch[0], branch[1]).clamp_min(0), branch[3], branch[4])).clamp_min(0)
    assert torch.allclose(block(x), expected, atol=1e-12)
    for seen in (z, expected):
        assert 0.1 < float((seen > 0).double().mean()) < 0.9, "every activation is put to the test"


def test_resnet62_starts_as_in_he_et_al():
    stack = model("resnet62", TaskShape((3, 32, 32), 10), depth_per_stage=1)
    weight = stack.blocks[2].branch[0].weight
    assert float(weight.detach().var()) == pytest.approx(2 / (9 * 64), rel=0.03)


# The depth-scalable network


def linear_stack(layers, scale, depth=9, width=4, **knobs):
    return model(
        "deep",
        TaskShape((width,), width),
        2,
        depth=depth,
        width=width,
        activation="identity",
        layers=layers,
        scale=scale,
        dtype=torch.float64,
        **knobs,
    )


@pytest.mark.parametrize("scale", ["1/T", "1/sqrt(T)"])
@pytest.mark.parametrize("layers", ["smooth", "rough", "mixed"])
def test_deep_starts_as_the_network_of_the_theory(layers, scale):
    knobs = {} if layers == "smooth" else {"sigma": 1.5}
    stack = linear_stack(layers, scale, **knobs)
    assert isinstance(stack, DeepStack)
    path = FourierPath(4, 2)
    xi = dlinear.GaussianNetwork(depth=9, width=4, scale=scale, sigma=1.5, seed=2).deviations(0, 9)
    mean = np.stack([path((t + 0.5) / 9) / 9 for t in range(9)])
    expected = {"smooth": mean, "rough": xi, "mixed": mean + xi}[layers]
    assert np.allclose(stack.deviations(), expected, rtol=1e-14, atol=1e-16)
    assert np.allclose(stack.network.deviations(0, 9), expected, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("scale", ["1/T", "1/sqrt(T)"])
@pytest.mark.parametrize("layers", ["smooth", "rough", "mixed"])
def test_its_horizon_gradients_are_those_of_the_dense_network(layers, scale):
    """g_h(t) of (27') times rho, from autograd on whitened samples by the definition."""
    rng = np.random.default_rng(0)
    task = dlinear.whitened_task(rng.normal(size=(40, 4)), rng.normal(size=(40, 4)), 4)
    knobs = {} if layers == "smooth" else {"sigma": 1.5}
    stack = linear_stack(layers, scale, **knobs)
    net, depth = dlinear.DenseNetwork(stack.deviations()), stack.depth
    rho = 1 / depth if scale == "1/T" else depth**-0.5
    x, y = torch.from_numpy(task.x), torch.from_numpy(task.y)
    z = [state.detach() for state in states(stack, x)]
    for h in (1, 4, depth):
        expected = dlinear.horizon_gradients(net, task.phi, h)
        for t in range(depth):
            s = min(t + h, depth)
            out = z[t]
            for block in stack.blocks[t:s]:
                out = block(out)
            loss = 0.5 * (stack.readout(out, s) - y).square().sum(1).mean()
            (grad,) = torch.autograd.grad(loss, stack.blocks[t].weight)
            assert np.allclose(grad.numpy(), rho * expected[t], rtol=0, atol=1e-12), (h, t)


def test_deviations_follow_the_weights():
    stack = linear_stack("rough", "1/T")
    with torch.no_grad():
        stack.blocks[3].weight += 9.0
    change = stack.deviations() - stack.network.deviations(0, 9)
    assert np.allclose(change, (np.arange(9) == 3)[:, None, None] * np.ones((4, 4)), atol=1e-14)
    with pytest.raises(DomainError, match="only the identity activation"):
        tiny("deep")[0].deviations()


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("identity", lambda v: v),
        ("tanh", np.tanh),
        ("relu", lambda v: np.maximum(v, 0)),
        ("gelu", lambda v: v * 0.5 * (1 + np.vectorize(math.erf)(v / math.sqrt(2)))),
    ],
)
@pytest.mark.parametrize("scale", ["1/T", "1/sqrt(T)"])
def test_a_deep_block_is_the_printed_map(activation, function, scale):
    stack, task = tiny("deep", activation=activation, scale=scale, dtype=torch.float64)
    rho = 0.2 if scale == "1/T" else 5**-0.5
    x = batch(task, dtype=torch.float64)
    z = x.flatten(1).numpy() @ stack.blocks[0].embedding.numpy().T
    for block in stack.blocks:
        z = z + rho * function(z @ block.weight.detach().numpy().T)
    expected = z @ stack.readout.matrix.numpy().T
    assert np.allclose(stack(x).detach().numpy(), expected, rtol=1e-12)


def test_the_path_has_entries_of_variance_one_over_n_at_every_depth():
    width, seeds = 20, range(60)
    points = np.array([0.0, 0.3, 0.5, 1.0])
    values = np.stack([FourierPath(width, seed)(points) for seed in seeds])
    variance = (values**2).mean(axis=(0, 2, 3)) * width
    assert np.abs(variance - 1).max() < 6 * math.sqrt(2 / (60 * 400))
    one = FourierPath(width, 7)
    assert np.array_equal(one(0.3), one(points)[1])
    assert np.abs(one(0.31) - one(0.3)).max() < 0.1 * np.abs(one(0.3)).max()
    assert np.abs(one(1.0) - one(0.0)).max() > 0.3 * np.abs(one(0.0)).max(), "it moves over the depth"


def test_smooth_layers_sample_one_path_whatever_the_depth():
    """Layers 3 j + 1 of 27 stand where layers j of 9 stand."""
    coarse, fine = linear_stack("smooth", "1/T", depth=9), linear_stack("smooth", "1/T", depth=27)
    assert np.allclose(9 * coarse.deviations(), 27 * fine.deviations()[1::3], rtol=1e-13)


@pytest.mark.parametrize(("features", "width"), [(4, 9), (9, 4), (5, 5)])
def test_the_input_map_is_fixed_and_semi_orthogonal(features, width):
    stack = model("deep", TaskShape((features,), 2), depth=2, width=width, dtype=torch.float64)
    embedding = stack.blocks[0].embedding
    assert stack.blocks[1].embedding is None
    assert not any("embedding" in name for name, _ in stack.named_parameters())
    if features == width:
        assert embedding is None
        return
    assert embedding.shape == (width, features)
    gram = embedding.T @ embedding if width > features else embedding @ embedding.T
    assert torch.allclose(gram, torch.eye(4, dtype=torch.float64), atol=1e-14)


# ResNet-50 and ViT-B/16


def original(name, seed=0, **extra):
    """The library's model as the builder starts it."""
    transformers = pytest.importorskip("transformers")
    task, knobs = TINY[name]
    kind = "ResNet" if name == "resnet50" else "ViT"
    sizes = {"num_labels": task.outputs, "num_channels": task.inputs[0]}
    config = getattr(transformers, f"{kind}Config")(**knobs["config"], **sizes, **extra)
    with seeded(seed):
        return getattr(transformers, f"{kind}ForImageClassification")(config)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("readout", ["shared", "exits"])
@pytest.mark.parametrize("name", ZOO)
def test_the_blocks_compute_the_logits_of_the_librarys_model(name, readout, training):
    whole = original(name).double().train(training)
    knobs = {"lora_rank": 0} if name == "vit" else {}
    stack, task = tiny(name, readout=readout, dtype=torch.float64, **knobs)
    stack.train(training)
    x = batch(task, dtype=torch.float64)
    assert torch.allclose(stack(x), whole(x).logits, rtol=0, atol=1e-12)
    if readout == "shared":
        mine, theirs = ({tuple(p.shape): 0 for p in m.parameters()} for m in (stack, whole))
        assert mine == theirs
        assert sum(p.numel() for p in stack.parameters()) == sum(p.numel() for p in whole.parameters())


def test_lora_trains_low_rank_factors_and_the_head():
    stack, task = tiny("vit", lora_rank=2, lora_alpha=6.0, dtype=torch.float64)
    plain, _ = tiny("vit", lora_rank=0, dtype=torch.float64)
    x = batch(task, dtype=torch.float64)
    assert torch.allclose(stack(x), plain(x), rtol=0, atol=1e-12), "the second factor starts at zero"
    trained = {name for name, p in stack.named_parameters() if p.requires_grad}
    factors = {name for name in trained if "lora_" in name}
    assert len(factors) == 3 * 2 * 2
    assert all("q_proj" in name or "v_proj" in name for name in factors)
    assert trained - factors == {name for name, _ in stack.named_parameters() if name.startswith("readout.")}
    assert not any(p.requires_grad for p in stack.blocks[0].parameters())
    # The factors act as W + (alpha/rank) B A.
    with torch.no_grad():
        for name, p in stack.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name))))
        for one, two in zip(stack.blocks[1:], plain.blocks[1:], strict=True):
            for part in ("q_proj", "v_proj"):
                low, full = getattr(one.attention, part), getattr(two.attention, part)
                full.weight += 3.0 * low.lora_B["default"].weight @ low.lora_A["default"].weight
    assert torch.allclose(stack(x), plain(x), rtol=0, atol=1e-10)
    assert not torch.allclose(stack(x), tiny("vit", lora_rank=0, dtype=torch.float64)[0](x), atol=1e-3)


def test_images_of_another_size_are_resized_by_the_first_block():
    pytest.importorskip("transformers")
    _, knobs = TINY["vit"]
    small = model("vit", TaskShape((3, 5, 5), 5), lora_rank=0, **knobs).eval()
    x = torch.rand(2, 3, 5, 5)
    resized = nn.functional.interpolate(x, (8, 8), mode="bilinear", antialias=True)
    assert torch.allclose(small(x), original("vit").eval()(resized).logits, atol=1e-6)
    stack, _ = tiny("resnet50", image_size=64)
    assert stack.blocks[0](torch.rand(2, 3, 32, 32)).shape[-1] == 16


@pytest.mark.slow
def test_the_full_sizes_are_the_published_ones():
    """25,557,032 and 86,567,656 parameters with 1000 classes (He et al. 2016; Dosovitskiy et al. 2021)."""
    pytest.importorskip("transformers")
    task = TaskShape((3, 224, 224), 1000)
    for name, depth, published, knobs in (
        ("resnet50", 17, 25_557_032, {}),
        ("vit", 13, 86_567_656, {"lora_rank": 0}),
    ):
        stack = model(name, task, **knobs)
        assert stack.depth == depth
        assert sum(p.numel() for p in stack.parameters()) == published


@pytest.mark.parametrize("name", ZOO)
def test_a_local_checkpoint_is_loaded_and_its_head_replaced(name, tmp_path):
    source = original(name, seed=9)
    source.save_pretrained(tmp_path)
    knobs = {"lora_rank": 0} if name == "vit" else {}
    task, _ = TINY[name]
    stack = model(name, task, 1, checkpoint=tmp_path, **knobs)
    x = batch(task)
    assert torch.allclose(stack.eval()(x), source.eval()(x).logits, atol=1e-5)
    before = torch.get_rng_state()
    other = [model(name, TaskShape(task.inputs, 3), 1, checkpoint=tmp_path, **knobs) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert same(*other), "the new head is drawn from the seed"
    assert not same(other[0], model(name, TaskShape(task.inputs, 3), 2, checkpoint=tmp_path, **knobs))
    assert other[0].eval()(x).shape == (7, 3)
    inside = zip(stack.blocks.state_dict().values(), other[0].blocks.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in inside)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    pytest.importorskip("transformers")
    task, knobs = TINY["resnet50"]
    words = "is not a folder; pass download=True"
    with pytest.raises(DataError, match=words):
        model("resnet50", task, checkpoint="microsoft/resnet-50")
    with pytest.raises(DataError, match="could not be loaded as resnet50"):
        model("resnet50", task, checkpoint=tmp_path)
    saved = tmp_path / "saved"
    original("resnet50").save_pretrained(saved)
    with pytest.raises(ShapeError, match=r"takes 3 channels, not inputs \(1, 32, 32\)"):
        model("resnet50", TaskShape((1, 32, 32), 5), checkpoint=saved)
    with pytest.raises(DomainError, match="has the config of its checkpoint"):
        model("resnet50", task, checkpoint=saved, **knobs)
    with pytest.raises(DataError, match=re.escape(f"{saved} holds a model of type resnet, not vit")):
        model("vit", TINY["vit"][0], checkpoint=saved)
    from safetensors.torch import load_file, save_file

    weights = load_file(saved / "model.safetensors")
    weights.pop("resnet.embedder.embedder.convolution.weight")
    save_file(weights, saved / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"1 weights do not fit, first resnet\.embedder\.embedder"):
        model("resnet50", task, checkpoint=saved)
    (saved / "model.safetensors").write_bytes(b"12345678not a checkpoint")
    with pytest.raises(DataError, match="could not be loaded as resnet50"):
        model("resnet50", task, checkpoint=saved)
    (saved / "model.safetensors").unlink()
    torch.save(original("resnet50").state_dict(), saved / "pytorch_model.bin")
    with pytest.raises(DataError, match="could not be loaded as resnet50"):
        model("resnet50", task, checkpoint=saved)  # a pickle is not read
    for bad, words in (
        ({"hidden_size": "ten"}, "vit cannot be built from config .*expected int"),
        ({"hidden_act": "nope"}, "vit cannot be built from config .*nope"),
        ({"hiden_size": 10}, "the config of vit has no entry 'hiden_size'"),
    ):
        with pytest.raises(DomainError, match=words):
            model("vit", TINY["vit"][0], config=bad)
    with pytest.raises(ShapeError, match="vit takes images"):
        model("vit", TaskShape((8,), 2))
    with pytest.raises(DomainError, match="lora_rank is -1; expected an integer >= 0"):
        model("vit", TINY["vit"][0], lora_rank=-1)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own, on first use
def test_forward_mode_runs_through_the_transformer():
    stack, task = tiny("vit", attention="eager")
    x = batch(task)
    direction = torch.ones_like(x)
    _, moved = torch.func.jvp(stack, (x,), (direction,))
    step = 1e-3
    estimate = (stack(x + step * direction) - stack(x - step * direction)) / (2 * step)
    assert torch.allclose(moved, estimate, atol=1e-3)


def test_a_convolutional_block_is_its_formula():
    """First block: the patch at (i, j) holds pixels (p i + a, p j + b); then x + act(conv(x))/T."""
    stack, task = tiny("conv", dtype=torch.float64)
    x = batch(task, count=2, dtype=torch.float64)
    first, second = stack.blocks[:2]
    patches = torch.stack([x[:, c, a::2, b::2] for c in range(3) for a in range(2) for b in range(2)], dim=1)
    entered = torch.einsum("cf,nfhw->nchw", first.embedding, patches)
    rows = first.embedding @ first.embedding.T
    assert torch.allclose(rows, torch.eye(4, dtype=torch.float64), atol=1e-12)
    for block, z in ((first, entered), (second, first(x))):
        padded, branch = nn.functional.pad(z, (1, 1, 1, 1)), torch.zeros_like(z)
        for i in range(3):
            for j in range(3):
                part = padded[:, :, i : i + 4, j : j + 4]
                branch += torch.einsum("dc,nchw->ndhw", block.weight[:, :, i, j], part)
        assert torch.allclose(block(x if block is first else z), z + branch.relu() / 3, atol=1e-12)
    size = model("conv", TaskShape((3, 32, 32), 2), depth=9, width=20).blocks[4].weight.detach().var()
    assert float(size) == pytest.approx(1 / 180, rel=0.1)


def test_the_middle_of_an_autoencoder_keeps_q_coordinates():
    stack, task = tiny("autoencoder", dtype=torch.float64)
    x = batch(task, dtype=torch.float64)
    middle = stack.blocks[2]
    assert middle.skip is False
    assert [type(block).__name__ for block in stack.blocks].index("NarrowBlock") == 2
    projector = middle(torch.eye(9, dtype=torch.float64))
    assert torch.allclose(projector @ projector, projector, atol=1e-12), "a projection at the start"
    assert torch.linalg.matrix_rank(middle(x)) == 2
    draw = torch.Generator().manual_seed(0)
    for weight in (middle.encoder, middle.decoder):
        weight.data = torch.randn(weight.shape, generator=draw, dtype=torch.float64)
    p = middle.start
    matrix = (p.T + middle.decoder / 5) @ (p + middle.encoder / 5)
    assert torch.allclose(middle(x), x @ matrix.T, atol=1e-12)
    assert model("autoencoder", task, width=9).blocks[8].start.shape == (1, 9)


# Plain layers


@pytest.mark.parametrize(
    ("initial", "bound", "deviation"),
    [("he_uniform", (6 / 40) ** 0.5, (2 / 40) ** 0.5), ("inverse_width", math.inf, 300**-0.5)],
)
def test_how_plain_layers_start(initial, bound, deviation):
    stack = model("layers", TaskShape((40,), 300), 0, depth=1, width=300, initial=initial, bias=True)
    weight, bias = stack.blocks[0][1].weight, stack.blocks[0][1].bias
    assert weight.abs().max() < bound
    assert weight.std().item() == pytest.approx(deviation, rel=0.03)
    assert not bias.any()
    torchs = model("layers", TaskShape((40,), 3), 0, depth=1, width=300, initial="torch")
    assert torchs.blocks[0][1].weight.abs().max() < 40**-0.5
    assert torchs.blocks[0][1].bias.any()


def test_plain_layers_are_what_their_formula_says():
    stack = model("layers", TaskShape((2, 3), 3), 4, depth=2, width=5, activation="tanh", bias=False)
    x = torch.randn(7, 2, 3)
    first, second, head = (p.detach().numpy() for p in stack.parameters())
    expected = np.tanh(np.tanh(x.flatten(1).numpy() @ first.T) @ second.T) @ head.T
    np.testing.assert_allclose(stack(x).detach().numpy(), expected, rtol=1e-4, atol=1e-6)
    dropped = model("layers", TaskShape((6,), 3), 0, depth=1, width=400, dropout=0.25).train()
    zeros = (dropped.blocks[0](torch.ones(1, 6)) == 0).double().mean() - (
        dropped.eval().blocks[0](torch.ones(1, 6)) == 0
    ).double().mean()
    assert 0.05 < zeros < 0.25  # a quarter of those that are not zero anyway


@pytest.mark.parametrize(
    ("name", "knobs", "said"),
    [
        ("layers", {"dropout": 1.0}, "dropout is 1.0; expected a share"),
        ("layers", {"initial": "zeros"}, "unknown initial 'zeros'; the names are"),
        ("layers", {"activation": "sine"}, "unknown activation 'sine'; the names are"),
        ("conv_layers", {"depth": 3}, "expected an even depth and an odd kernel"),
        ("conv_layers", {"kernel": 2}, "expected an even depth and an odd kernel"),
        ("conv_layers", {"depth": 6}, "can be halved 3 times"),
    ],
)
def test_plain_layers_refuse(name, knobs, said):
    with pytest.raises((DomainError, ShapeError), match=re.escape(said)):
        model(name, TaskShape((1, 4, 4), 3), **knobs)
