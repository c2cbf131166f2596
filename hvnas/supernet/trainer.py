"""Training a supernet: its initial weights, and the ordinary loop with several members in each step.

Initial weights of a supernet: residual branches that add nothing at first.

Members then start as one and the same short network (stem, downsampling, head), which all of them train, and
a block that is drawn for the first time leaves what its neighbours read as it was. The scale of the last norm
of a residual branch is zero (arXiv 1706.02677, section 5.1); where a branch ends without a norm, its last
weights are (arXiv 1901.09321). Blocks with a layer scale start near zero by themselves. Blocks of one's own
do too where `ends_residual` says what their branch ends with::

    ends_residual(MyBlock, "body.project.norm.weight")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.arch import Arch
from hvnas.nn.coatnet import CoatMBConvModule, CoatTransformerModule
from hvnas.nn.efficientvit import EfficientViTModule
from hvnas.nn.mbconv import ConvResidualModule, FusedMBConvModule, InvertedBottleneck
from hvnas.nn.mobileformer import BneckLiteModule, Mobile, MobileDown
from hvnas.nn.vit import ViTBlockModule
from hvnas.space import Space
from hvnas.supernet.importance import attach, gated, importance_of, temperature_at
from hvnas.supernet.schemes import DEFAULT, make_scheme, project, taken
from hvnas.supernet.scoring import BN_CALIB, check_bn_calib, member_scores
from hvnas.supernet.supernet import Supernet
from hvnas.supernet.weights.memory import plan
from hvnas.supernet.weights.variants import STRIDED, inner_of, on_meta
from hvnas.train.data.registry import Data
from hvnas.train.data.splits import Split
from hvnas.train.process_group import ProcessGroup
from hvnas.train.recipes import Recipe
from hvnas.train.state import Randomness
from hvnas.train.trainer import OnProgress, Trainer


def supernet_for(space: Space, data: Data, *, seed: int = 0) -> Supernet:
    """The supernet of `space` for the classes and the resolution of `data`, with weights that `seed` draws.

    Residual branches start at nothing (see `hvnas.supernet.trainer`). Raises ValueError as `Supernet` does.
    """
    with Randomness(torch.device("cpu"), seed=seed).own():
        net = Supernet(space, classes=data.classes, resolution=data.resolution)
    quieten(net)
    return net


class SupernetTrainer(Trainer):
    """One training run of a supernet.

    As `Trainer`, but: a step trains the members that `scheme` draws (see `hvnas.supernet.schemes`), whose
    gradients add up to one update; the loss of a batch is that of its first member; top-1 is that of the
    scheme's `shown` member, after BatchNorm recalibration on `bn_calib` images; where a loss is not finite
    the error names the member. Members that are taught learn softened labels, the output of the first
    member, and are not regularised by the recipe's drop path (as BigNAS, arXiv 2003.11142). Weights that no
    member of a step uses are left alone; of the others the part outside of the members' slices moves by
    momentum and weight decay alone. With `importance` the random members train importances too
    (`hvnas.supernet.importance`), which are saved beside the weights.
    """

    def __init__(
        self,
        net: Supernet,
        data: Data,
        *,
        recipe: Recipe,
        scheme: str = DEFAULT,
        paths: int | None = None,
        bn_calib: int = BN_CALIB,
        importance: bool = False,
        epochs: int | None = None,
        seed: int = 0,
        device: str | None = None,
        checkpoint: str | Path | None = None,
        save_every: float = 300.0,
        progress: OnProgress | None = None,
        stop: Callable[[], bool] | None = None,
        peers: ProcessGroup | None = None,
    ) -> None:
        check_bn_calib(bn_calib)
        self.net, self.bn_calib = net, bn_calib
        self.scheme = make_scheme(scheme, net, seed=seed, paths=paths)
        self._scheme_key = scheme if paths is None else f"{scheme} with {paths} paths"
        self._drawn: tuple[Arch, ...] = ()
        if importance and importance_of(net) is None:
            attach(net)
        super().__init__(
            net,
            data,
            recipe=recipe,
            epochs=epochs,
            seed=seed,
            device=device,
            checkpoint=checkpoint,
            save_every=save_every,
            progress=progress,
            stop=stop,
            peers=peers,
        )

    keeps_best = False

    @property
    def identity(self) -> dict[str, str | int]:
        """What a checkpoint must agree in to be continued."""
        return super().identity | {"space": self.net.space.hash, "scheme": self._scheme_key}

    def evaluate(self, split: Split) -> float:
        """Top-1 of the scheme's `shown` member on a split, in points."""
        net = self.evaluated
        assert isinstance(net, Supernet)
        return member_scores(
            net,
            self.scheme.shown,
            self.data,
            bn_calib=self.bn_calib,
            split=split,
            precision=self.precision(),
        ).top1

    def backward(self, images: Tensor, labels: Tensor) -> float:
        """Add up the gradients of the step's members; the first one's loss. Raises DivergedError."""
        # the weights' slices are the kernels' to lay out; images alone make most convolutions faster
        images = images.contiguous(memory_format=torch.channels_last)
        draw = self.scheme.draw(self.steps_done, steps=self.epochs * self.steps)
        first, *others = draw.members
        value, output = self._add(first, images, labels, drop_path=self.settings.drop_path)
        of_first = taken(self.net.parameters()) if self.scheme.projects else None
        goal = output.float().softmax(1) if draw.taught else labels
        for arch in others:
            self._add(arch, images, goal, drop_path=0.0 if draw.taught else self.settings.drop_path)
        if of_first is not None:
            project(self.net.parameters(), of_first)
        self._drawn = draw.members
        return value

    def diverged(self, what: str, value: float) -> str:
        """One line on a loss or a gradient that is not finite, with the members it came of."""
        members = "; ".join(self._named(arch) for arch in self._drawn)
        return f"{super().diverged(what, value)}; trained in this step: {members}"

    def _add(self, arch: Arch, images: Tensor, goal: Tensor, *, drop_path: float) -> tuple[float, Tensor]:
        """Add the gradients of one member on classes ``[B]`` or softened ones ``[B, classes]``.

        Returns its loss and its logits.
        """
        self._drawn = (arch,)
        self.net.set(arch, drop_path=drop_path)
        smoothing = self.settings.label_smoothing if goal.ndim == 1 else 0.0
        with self.precision():
            logits = self._logits(arch, images)
            loss = F.cross_entropy(logits, goal, label_smoothing=smoothing)
        return self.add_gradients(loss), logits.detach()

    def _logits(self, arch: Arch, images: Tensor) -> Tensor:
        """Logits of the active member `arch`, its blocks behind gates where importances are trained."""
        importance = importance_of(self.net)
        if importance is None or arch in (self.net.largest, self.net.smallest):
            return self.net(images)
        done = self.steps_done / (self.epochs * self.steps)
        return gated(self.net, importance, images, temperature=temperature_at(done))

    def _named(self, arch: Arch) -> str:
        """An architecture by its genes, those with one value left out."""
        space = self.net.space
        choices = space.choices(self.net.encode(arch))
        shown = (f"{g.name}={choices[g.name]}" for g in space.genes if len(g.values) > 1)
        return f"{arch.hash} ({' '.join(shown)})"


_RUNS = (".local.", ".global.")
_ENDS: dict[type[nn.Module], tuple[str, ...]] = {}


def ends_residual(module: type[nn.Module], *names: str) -> None:
    """Declare the tensors of `module` whose zeros make its residual branches add nothing."""
    _ENDS[module] = names


@torch.no_grad()
def quieten(net: Supernet) -> None:
    """Set the ends of all residual branches in runs to zero, in place.

    A first block that strides has no shortcut, and keeps its values. One that only changes the width has
    none either, but shares its weights with one that has; its norm's own gradient is not zero, and it leaves
    nothing in a few steps.
    """
    for (where, branch), slot in plan(net.space, classes=net.classes, resolution=net.resolution).items():
        if any(run in where for run in _RUNS) and STRIDED not in branch:
            module = inner_of(on_meta(*slot.variants[0]))
            for name in _ends_of(module):
                net.get_parameter(f"{where}.{branch}.{name}").zero_()


def _ends_of(module: nn.Module) -> Iterator[str]:
    tensors = dict(module.named_parameters())
    for prefix, part in module.named_modules():
        for cls in type(part).__mro__:
            for name in _ENDS.get(cls, ()):
                full = f"{prefix}.{name}" if prefix else name
                if full in tensors:
                    yield full


ends_residual(InvertedBottleneck, "layers.project.norm.weight")
ends_residual(FusedMBConvModule, "layers.project.norm.weight")
ends_residual(ConvResidualModule, "layers.conv2.norm.weight")
ends_residual(BneckLiteModule, "body.project.norm.weight")
ends_residual(Mobile, "body.project.norm.weight")
ends_residual(MobileDown, "body.project.norm.weight")
ends_residual(CoatMBConvModule, "project.weight")
ends_residual(CoatTransformerModule, "attn.proj.weight", "mlp.fc2.weight")
ends_residual(EfficientViTModule, "attn.proj.norm.weight")
ends_residual(ViTBlockModule, "attn.proj.weight", "mlp.fc2.weight")
