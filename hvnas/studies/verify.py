"""Every fixed point held against what its paper published, and against the space that must hold it.

A network built once, cheaply, for tracing and for one real forward pass.

Initialising weights costs more than running the network. Here the parameters stay on meta while it is
built, buffers (index tables, running statistics) are real, and the parameters are filled from one
block of random numbers when the network is to run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from hvnas._files import refusing
from hvnas.arch import Arch, list_models, load_arch
from hvnas.nn import Network, build_on_meta
from hvnas.ops import Program
from hvnas.ops.counting import count_macs
from hvnas.ops.trace import trace
from hvnas.space import Space, load_space
from hvnas.studies.published import Published, macs_agree, params_agree, read_published

SPACE = "hybrid"
# Above this many parameters the weights are not given memory: build, trace and forward run on meta.
META_ABOVE = 300_000_000


OK, MISPRINT, MISMATCH, UNPUBLISHED = "ok", "misprint", "MISMATCH", "unpublished"


@dataclass(frozen=True)
class Check:
    """One comparison: ``ok``, ``misprint``, ``MISMATCH`` or ``unpublished``, and what was found."""

    verdict: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """One fixed point: our counts beside the published ones, and what each check came to.

    `macs` are counted by `published.macs_rule` at `published.macs_resolution`; where no MACs are
    published, convolutions, linear layers and products at the network's own resolution. `checks` are
    params, macs, stem, trace, space and forward; `on_meta` says that the last ran without weights.
    """

    name: str
    published: Published
    params: int
    macs: int
    on_meta: bool
    checks: dict[str, Check]

    @property
    def ok(self) -> bool:
        """Whether nothing differs but what is known to be misprinted."""
        return all(check.verdict != MISMATCH for check in self.checks.values())

    @property
    def verdict(self) -> str:
        """``MISMATCH``, else ``misprint`` where the paper has one, else ``ok``."""
        if not self.ok:
            return MISMATCH
        return OK if self.published.misprint is None else MISPRINT

    @property
    def mismatches(self) -> tuple[str, ...]:
        """A line for each check that failed."""
        return tuple(f"{name}: {c.detail}" for name, c in self.checks.items() if c.verdict == MISMATCH)


def verify(names: Sequence[str] = (), *, space: str = SPACE) -> Iterator[Verification]:
    """Verify fixed points by name (or networks by YAML path), one after the other; all unless named.

    Raises ValueError, before any work, for a name that does not exist.
    """
    archs = {name: load_arch(name) for name in names or list_models()}
    holder = load_space(space)
    return (_verified(name, arch, space=holder) for name, arch in archs.items())


def _verified(name: str, arch: Arch, *, space: Space) -> Verification:
    with refusing(name):
        return verify_arch(arch, space=space)


def verify_arch(arch: Arch, *, space: Space) -> Verification:
    """Verify one network. Raises ValueError where its `published` block cannot be read."""
    published = read_published(arch)
    program = arch.lower()
    macs = _macs(arch, published)
    on_meta = program.params > META_ABOVE
    checks = {
        "params": _check_params(program.params, published),
        "macs": _check_macs(macs, published),
        "stem": _check_stem(program, published),
        "space": _check_space(arch, space),
        **_check_module(arch, program, on_meta=on_meta),
    }
    return Verification(
        name=arch.name, published=published, params=program.params, macs=macs, on_meta=on_meta, checks=checks
    )


def _macs(arch: Arch, published: Published) -> int:
    counted = (
        arch
        if published.macs_resolution == arch.resolution
        else arch.with_(resolution=published.macs_resolution)
    )
    return count_macs(counted.lower(), published.macs_rule or "conv_linear_matmul")


def _compare(
    agree: Callable[[int, float], bool], ours: int, theirs: float | None, *, misprinted: bool = False
) -> Check:
    """One count against one published figure."""
    if theirs is None:
        return Check(UNPUBLISHED)
    if agree(ours, theirs):
        return Check(OK)
    difference = f"{ours:,} against {theirs:,.0f} ({100 * (ours / theirs - 1):+.2f} %)"
    return Check(MISPRINT if misprinted else MISMATCH, difference)


def _check_params(ours: int, published: Published) -> Check:
    """The exact count first: a misprint excuses only the rounded one that is printed beside it."""
    check = _compare(params_agree, ours, published.params)
    if published.params_printed is None or check.verdict == MISMATCH:
        return check
    misprinted = published.misprint_in == "params"
    return _compare(params_agree, ours, float(published.params_printed), misprinted=misprinted)


def _check_macs(ours: int, published: Published) -> Check:
    return _compare(macs_agree, ours, published.macs, misprinted=published.misprint_in == "macs")


def _check_stem(program: Program, published: Published) -> Check:
    """Parameters and MACs of the stem, for the stem ablation of 2106.14881 (Table 3)."""
    ops = [op for op, label in zip(program.ops, program.labels, strict=True) if label == "stem"]
    params = _compare(params_agree, sum(op.params for op in ops), published.stem_params)
    macs = _compare(macs_agree, sum(op.macs for op in ops), published.stem_macs)
    return params if params.verdict == MISMATCH else macs


def _check_space(arch: Arch, space: Space) -> Check:
    """Membership, and the way there and back."""
    try:
        row = space.encode(arch)
    except ValueError as error:
        return Check(MISMATCH, str(error))
    again = space.decode(row).with_(classes=arch.head.out)
    if again != arch or (space.encode(again) != row).any():
        return Check(MISMATCH, f"decode(encode()) in {space.name} is another network")
    return Check(OK)


def _check_module(arch: Arch, program: Program, *, on_meta: bool) -> dict[str, Check]:
    """Trace and forward of the torch module; on meta the trace is the forward pass."""
    model = build_on_meta(arch) if on_meta else build_without_weights(arch)
    traced, lowered = trace(model, resolution=arch.resolution).difference(program)
    checks = {"trace": Check(OK), "forward": Check(OK)}
    if traced or lowered:
        detail = f"{traced.total()} traced ops not lowered, {lowered.total()} lowered ops not traced"
        checks["trace"] = Check(MISMATCH, detail)
    if not on_meta:
        with one_thread():
            fill_weights(model)
            problem = forward_problem(model)
        if problem is not None:
            checks["forward"] = Check(MISMATCH, problem)
    return checks


_BLOCK = 2**20


def build_without_weights(arch: Arch) -> Network:
    """The module with its parameters on meta and its buffers on the CPU, in eval mode."""
    with _parameters_on_meta():
        return Network(arch).eval()


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    def to_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        return None if parameter is None else nn.Parameter(parameter.to("meta"))

    # torch annotates the hook as returning nothing, and takes what it returns
    handle = register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: at batch 1 two gain little, and on a busy machine wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fill_weights(model: nn.Module, *, seed: int = 0) -> None:
    """Give every parameter memory and values, in place.

    Weights of two axes or more: normal, variance 1 / inputs, so that activations keep their size. Of one
    axis: 1 for factors, 0 for what is added. The numbers of large tensors repeat.
    """
    block = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(seed))
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            value = torch.empty(parameter.shape)
            if parameter.dim() < 2:
                value.fill_(0.0 if name == "bias" else 1.0)
            else:
                _fill(value, block, (parameter.shape[0] / parameter.numel()) ** 0.5)
            module.register_parameter(name, nn.Parameter(value, requires_grad=False))


def _fill(value: Tensor, block: Tensor, scale: float) -> None:
    for part in value.view(-1).split(len(block)):
        torch.mul(block[: len(part)], scale, out=part)


def forward_problem(model: Network) -> str | None:
    """What is wrong with one forward pass on a random image, or None.

    The model must return finite logits ``[1, classes]``; it is run in eval mode without gradients.
    """
    arch = model.arch
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, arch.resolution, arch.resolution, generator=generator)
    with torch.no_grad():
        logits = model.eval()(image)
    if tuple(logits.shape) != (1, arch.head.out):
        return f"logits {list(logits.shape)} in place of {[1, arch.head.out]}"
    return None if bool(torch.isfinite(logits).all()) else "logits that are not finite"
