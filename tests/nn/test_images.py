"""What a network does with images that it was not built for, and how one is built for others."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import hvnas
from hvnas.arch import Arch, list_models, save_arch
from hvnas.nn import Network, build_on_meta
from hvnas.nn.images import refusal
from hvnas.supernet import Supernet

NAME = "efficientformer_l1"
IMAGE = torch.rand(1, 3, 64, 64)
BAD = {
    r"built for images of 64 x 64, got 96 x 96 \(stages\.3\.global\.0 \(mb3d\) depends on the size\); resize "
    r"the images to 64 x 64, or make a network for theirs: hvnas\.build\(arch, resolution=96\)$": torch.rand(
        1, 3, 96, 96
    ),
    r"got 65 x 64 \(.*\); resize the images to 64 x 64$": torch.rand(1, 3, 65, 64),
    r"takes images \[batch, 3, 64, 64\], got \[3, 64, 64\]; add the batch with x\.unsqueeze\(0\)$": IMAGE[0],
    r"got \[64\]; give a batch of images$": IMAGE[0, 0, 0],
    r"got \[1, 1, 64, 64\], which has 1 channel; convert the images to RGB, or repeat": IMAGE[:, :1],
    r"got \[1, 64, 64, 3\], which has 64 channels; put the channels first": IMAGE.permute(0, 2, 3, 1),
    r"got \[1, 4, 64, 64\], which has 4 channels; convert the images to RGB$": torch.rand(1, 4, 64, 64),
    r"of floating-point numbers, got uint8; convert them as in training": IMAGE.to(torch.uint8),
    r"of floating-point numbers, got int64; ": IMAGE.long(),
    r"of float32, got float64; convert them with x\.to\(torch\.float32\)$": IMAGE.double(),
    r"as a tensor, got ndarray; make one with torch\.as_tensor$": IMAGE.numpy(),
}


@pytest.fixture(scope="module")
def small() -> Network:
    return hvnas.build(NAME, classes=10, resolution=64).eval()


def _shrunk(name: str) -> Arch:
    return hvnas.load_arch(name).shrunk()


def test_a_network_is_built_by_name_path_or_arch(small: Network, tmp_path: Path) -> None:
    arch = hvnas.load_arch(NAME).with_(classes=10, resolution=64)
    assert small.arch == arch
    assert small(torch.rand(2, 3, 64, 64)).shape == (2, 10)
    save_arch(arch, tmp_path / "net.yaml")
    for source in (tmp_path / "net.yaml", str(tmp_path / "net.yaml"), arch):
        assert hvnas.build(source, classes=3).arch == arch.with_(classes=3)
    maps = hvnas.build(NAME, resolution=64, features_only=True)(torch.rand(2, 3, 64, 64))
    assert [m.shape[2] for m in maps] == [16, 8, 4, 2]


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        (NAME, {"resolution": 0}, r"^resolution: must be a whole number from 1 to 4096, got 0"),
        (NAME, {"resolution": 64.0}, r"^resolution: must be a whole number from 1 to 4096, got 64\.0"),
        (NAME, {"classes": 0}, r"^classes: must be a whole number from 1 to 1000000, got 0"),
        (NAME, {"classes": True}, r"^classes: must be a whole number from 1 to 1000000, got True"),
        ("efficientformer_l9", {}, r"^unknown model 'efficientformer_l9'; nearest of 92: "),
        ("missing.yaml", {}, r"^missing\.yaml: no such file"),
        ({}, {}, r"^arch: must be an Arch, the name of a model or the path of a YAML file, got dict"),
        ("coatnet_0", {"resolution": 225}, r"^resolution: coatnet_0 cannot be built for 225 px.*; give 224"),
        ("vit_p_4gf", {"resolution": 7}, r"^resolution: vit_p_4gf cannot be built for 7 px: .*; give 32, "),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_in_a_sentence(source: object, options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        hvnas.build(source, **options)  # type: ignore[call-overload]
    assert len(str(raised.value)) < 500 and "\n" not in str(raised.value)


@pytest.mark.parametrize("said", BAD)
def test_images_of_another_kind_are_refused_in_a_sentence(small: Network, said: str) -> None:
    for network in (small, copy.deepcopy(small), pickle.loads(pickle.dumps(small)), hvnas.deploy(small)):
        with pytest.raises(ValueError, match=said) as raised:
            network(BAD[said])
        assert str(raised.value).startswith("input: efficientformer_l1 ")
        assert len(str(raised.value)) < 300


@pytest.mark.parametrize("name", list_models()[::5])
def test_a_size_passes_exactly_where_the_network_built_for_it_is_the_same(name: str) -> None:
    arch = _shrunk(name)
    own = arch.resolution
    network = build_on_meta(arch)
    for size in ((own + 32, own + 32), (own, own + 64), (own - 3, own - 3), (own // 2, own // 2)):
        if refusal(arch, size) is None:
            out = network.eval()(torch.empty(1, 3, *size, device="meta"))
            assert out.shape == (1, arch.head.out)
        elif size[0] == size[1]:
            with pytest.raises(
                ValueError, match=rf"^input: {arch.name} is built for images of {own} x {own}, got "
            ):
                network.train()(torch.empty(1, 3, *size, device="meta"))


@pytest.mark.parametrize("name", ["efficientvit_b1", "poolformer_s12", "mobileformer_294m"])
def test_networks_without_a_size_of_their_own_take_any(name: str) -> None:
    network = hvnas.build(_shrunk(name)).eval()
    for size in ((96, 64), (224, 224), (160, 288)):
        assert network(torch.rand(1, 3, *size)).shape == (1, network.arch.head.out)


def test_a_position_table_of_one_entry_is_not_spread_over_a_larger_map() -> None:
    """At 32 px the last map has one position, whose bias torch would add to those of any other map."""
    network = hvnas.build("coatnet_0", resolution=32).eval()
    with pytest.raises(
        ValueError, match=r"got 64 x 64 \(stages\.\d\.global\.\d \(coat_transformer\) depends"
    ):
        network(torch.rand(1, 3, 64, 64))


def test_a_stem_of_ones_own_may_take_other_channels() -> None:
    network = hvnas.build(_shrunk("efficientvit_b1"))
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    first.weight = nn.Parameter(torch.rand(first.out_channels, 4, *first.kernel_size))
    first.in_channels = 4
    assert network.eval()(torch.rand(1, 4, 64, 64)).shape == (1, network.arch.head.out)


def test_a_backbone_says_what_is_wrong_with_images() -> None:
    features = hvnas.build(NAME, resolution=64, features_only=True)
    with pytest.raises(ValueError, match=r"got \[1, 1, 64, 64\], which has 1 channel"):
        features(torch.rand(1, 1, 64, 64))


def test_a_supernet_says_what_its_member_takes() -> None:
    net = Supernet(hvnas.load_space("hybrid-tiny").around(_tiny()), classes=10, resolution=32)
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    for run in (net, net.heads):
        for images, said in (
            (torch.rand(1, 1, 32, 32), r"got \[1, 1, 32, 32\], which has 1 channel"),
            (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), r"got uint8"),
            (torch.rand(1, 3, 64, 64), r"got 64 x 64 .*for theirs: Supernet\(space, resolution=64\)$"),
        ):  # fmt: skip
            with pytest.raises(ValueError, match=said):
                run(images)
    member = net.extract()
    with pytest.raises(ValueError, match=r"got 64 x 64 .*hvnas\.build\(arch, resolution=64\)$"):
        member(torch.rand(1, 3, 64, 64))


def _tiny() -> Arch:
    """A member of hybrid-tiny that attends with a table of positions."""
    import numpy as np

    space = hvnas.load_space("hybrid-tiny")
    archs = (space.decode(row) for row in space.sample(200, rng=np.random.default_rng(0)))
    return next(a for a in archs if refusal(a.with_(resolution=32), (64, 64)))


@pytest.mark.parametrize("name", [NAME, "coatnet_0", "mobilevit_xxs"])
def test_compiled_and_exported_networks_are_as_they_were(name: str) -> None:
    torch.compiler.reset()  # or it takes the second network for the first at a size that changes
    network = hvnas.build(_shrunk(name)).eval()
    side = network.arch.resolution
    image = torch.rand(1, 3, side, side)
    with torch.no_grad():
        wanted = network(image)
        made: list[Tensor] = [
            torch.export.export(network, (image,)).module()(image),
            torch.compile(network, backend="eager", fullgraph=True)(image),
            torch.jit.trace(network, image)(image),
        ]
    assert all(torch.allclose(one, wanted, atol=1e-5) for one in made)
