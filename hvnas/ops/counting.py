"""MACs as each paper counts them: named rules, functions of a Program.

`Program.macs` counts convolutions, linear layers and matrix products. Papers leave some of these out
or count more, so that a published figure is compared under the rule that it was made with.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from hvnas._registry import Registry
from hvnas.ops.op import Op
from hvnas.ops.program import Program

Rule = Callable[[Program], int]
_MACS_RULES: Registry[Rule] = Registry("macs_rule")
_PARAMS_RULES: Registry[Rule] = Registry("params_rule")

# Of a normalised element, affine parameters included: fvcore 0.1.5, jit_handles.py, norm_flop_counter
# and batchnorm_flop_jit (in eval).
_FVCORE_NORM = {"bn": 2, "gn": 5, "ln": 5}


def list_macs_rules() -> tuple[str, ...]:
    """Names of the counting rules."""
    return _MACS_RULES.names()


def count_macs(program: Program, rule: str) -> int:
    """MACs of one image under the rule of that name. Raises ValueError listing the rules there are."""
    return _MACS_RULES[rule](program)


@_MACS_RULES.registering("conv_linear_matmul")
def conv_linear_matmul(program: Program) -> int:
    """Convolutions, linear layers and matrix products, with nothing else: this project's own count."""
    return program.macs


@_MACS_RULES.registering("conv_linear")
def conv_linear(program: Program) -> int:
    """Without the products of queries, keys and values (MobileViT, 2110.02178: 0.7 G for XS at 224)."""
    return sum(op.macs for op in program.ops if op.kind in ("conv", "linear"))


@_MACS_RULES.registering("conv_linear_matmul_dyrelu")
def conv_linear_matmul_dyrelu(program: Program) -> int:
    """With the two products per element of a dynamic ReLU, max(a1 x, a2 x) (Mobile-Former, 2108.05895)."""
    return program.macs + 2 * sum(op.out_count for op in program.ops if op.variant == "maximum")


@_MACS_RULES.registering("fvcore")
def fvcore(program: Program) -> int:
    """As fvcore counts the authors' PoolFormer (2111.11418): with 2 or 5 per element of a norm.

    Their LayerNorm of a map is written out in elementary operations, which fvcore does not count.
    """
    return program.macs + sum(
        _FVCORE_NORM[op.variant] * op.out_count
        for op in program.ops
        if op.kind == "norm" and not _ln_of_map(op)
    )


def _ln_of_map(op: Op) -> bool:
    return op.variant == "ln" and len(op.shape_out) == 3


@_MACS_RULES.registering("efficientformer_toolbox")
def efficientformer_toolbox(program: Program) -> int:
    """As snap-research/EfficientFormer counts in toolbox.py, ProfileConv (2206.01191, 2212.08059).

    Beside convolutions, linear layers and attention products: average pools by their window, GELU
    once and LayerNorm twice, of which it takes the first two axes: C H of a map (C, H, W), and all
    of tokens (N, d).
    """
    return program.macs + sum(map(_toolbox_extra, program.ops))


def list_params_rules() -> tuple[str, ...]:
    """Names of the rules that count parameters."""
    return _PARAMS_RULES.names()


def count_params(program: Program, rule: str) -> int:
    """Parameters under a rule: ``all``, or ``efficientformer_toolbox``. Raises ValueError listing them."""
    return _PARAMS_RULES[rule](program)


@_PARAMS_RULES.registering("all")
def _all_params(program: Program) -> int:
    return program.params


@_PARAMS_RULES.registering("efficientformer_toolbox")
def _toolbox_params(program: Program) -> int:
    """Parameters as snap-research/EfficientFormer counts them in toolbox.py, ProfileConv.

    Of a convolution its weights and, for a bias, the input channels of one group, whether it has one or not;
    linear layers and LayerNorms whole; nothing else: no BatchNorm, layer scale or attention bias.
    """
    found = 0
    for op in program.ops:
        if op.kind == "conv":
            found += op.weight_count + op.shape_in[0] // op.groups
        elif op.kind == "linear" or (op.kind == "norm" and op.variant == "ln"):
            found += op.params
    return found


def _toolbox_extra(op: Op) -> int:
    if op.kind == "pool" and op.variant == "avg":
        return op.out_count * prod(op.kernel)
    if op.kind == "act" and op.variant == "gelu":
        return prod(op.shape_out[:2])
    if op.kind == "norm" and op.variant == "ln":
        return 2 * prod(op.shape_out[:2])
    return 0
