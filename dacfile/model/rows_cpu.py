"""Convolutions over rows [R, I] -> [R - k + 1, O] on a CPU, without padding, stride or dilation.

Two ways, chosen by cost: oneDNN's direct convolution, and a short convolution that multiplies less. Both read weights
that were put into oneDNN's order once; PyTorch's own call does that again every time.

The short one is the Toom-Cook method (S. Winograd, Arithmetic Complexity of Computations, 1980; R. Blahut, Fast
Algorithms for Signal Processing, 2010, chapter 5). m outputs of k taps are coefficients of a product of polynomials
of N = m + k - 1 coefficients. Known at N points, a polynomial is known everywhere, and at a point the product of two
polynomials is the product of their values: N matrices in place of m * k. The points here are 0, infinity and roots of
unity, conjugate roots taken together at three real products each. Unlike small integers, the points that Winograd
convolutions mostly use, they cost no accuracy: the error in float32 is not above that of the direct sum.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Step = Callable[[Tensor], Tensor]  # rows [R, C] -> rows [R', C']

# Pairs of conjugate roots by number of taps: 22 products for 10 outputs of 7 taps, 4 for 3 of 2 and for 2 of 3. More
# pairs multiply less, but need larger weights and more work on the way to and from the points.
PAIRS = {2: 0, 3: 0, 7: 6}
# What going to and from the points costs for one value, in multiplications of the direct convolution.
VALUE_COST = 110
# Bytes of weights beyond which they come from memory for every window, and that takes longer than multiplying.
LARGEST = 64 << 20
# oneDNN picks the order of the weights for the number of rows it is shown, and takes milliseconds to change it when
# products of single rows come in another number. So these always get the same number of rows, the last of them zeros.
WINDOWS = 64  # of m results; what lies between two steps of them stays in the cache
FEW_ROWS, MANY_ROWS = 640, 1920  # a call costs as much as some 200 narrow rows


class Points(NamedTuple):
    """Matrices of a short convolution: y = gather @ ((weigh @ taps) * (spread @ x)) for N values x and m results y."""

    spread: np.ndarray  # [F, N]
    weigh: np.ndarray  # [F, k]
    gather: np.ndarray  # [m, F]; column ONE adds to all results alike


ONE = 2  # the point 1 among the points


@cache
def is_supported() -> bool:
    """Return whether this PyTorch has oneDNN with its own order of weights; the functions for that are not public."""
    weight, x = torch.ones(16, 16, 1), torch.ones(8, 16)
    try:
        with torch.inference_mode():
            return bool((direct(weight, torch.ones(16))(x) == 17).all())
    except (RuntimeError, AttributeError, TypeError):
        return False


def points(taps: int, pairs: int) -> Points:
    """Return the matrices for `taps` taps at the points 0, infinity, 1, -1 and `pairs` pairs of conjugate roots.

    By the transposition principle the multiplication of polynomials, read backwards, is a convolution.
    """
    count = 4 + 2 * pairs
    values = _values(count, pairs)
    # Of a pair the values a + ib and c + id give ac, bd and (a + b)(c + d), and those the value of the product.
    combine = np.zeros((count, len(values)))
    combine[:4, :4] = np.eye(4)
    for index in range(pairs):
        combine[4 + 2 * index : 6 + 2 * index, 4 + 3 * index : 7 + 3 * index] = [[1, -1, 0], [-1, -1, 1]]
    known = [row for row in range(len(values)) if row < 4 or (row - 4) % 3 < 2]
    coefficients = np.linalg.inv(values[known]) @ combine
    return Points(coefficients.T, _values(taps, pairs), _values(count - taps + 1, pairs).T)


def _values(length: int, pairs: int) -> np.ndarray:
    """Return [F, length]: the values of monomials at the points; of a pair real part, imaginary part, sum."""
    power = np.arange(length)
    rows = [power == 0, power == length - 1, np.ones(length), (-1.0) ** power]
    for index in range(1, pairs + 1):
        root = np.exp(2j * np.pi * index / (2 * pairs + 2) * power)
        rows += [root.real, root.imag, root.real + root.imag]
    return np.array(rows, np.float64)


def convolution(weight: Tensor, bias: Tensor) -> Step:
    """Return the fastest convolution for weights [O, I, k]. Raises RuntimeError where PyTorch has no oneDNN."""
    outputs, inputs, taps = weight.shape
    if taps == 1:
        return products(weight, bias, 1, FEW_ROWS if outputs > 128 else MANY_ROWS)
    if taps in PAIRS:
        made = points(taps, PAIRS[taps])
        count = len(made.spread)
        saved = (taps - count / len(made.gather)) * inputs * outputs
        if saved > VALUE_COST * (inputs + outputs) and 4 * count * inputs * outputs <= LARGEST:
            return short(weight, bias, made)
    return direct(weight, bias)


def direct(weight: Tensor, bias: Tensor, groups: int = 1, rows: int = FEW_ROWS) -> Step:
    """Return oneDNN's convolution for weights [O, I, k]; of `groups`, each maps its own I inputs to its own outputs.

    It is prepared for inputs that give `rows` rows.
    """
    settings: tuple[Any, ...] = ((0, 0), (1, 1), (1, 1), groups)  # padding, stride, dilation
    image = [1, weight.shape[1] * groups, 1, rows + weight.shape[2] - 1]
    order: Any = torch._C._nn.mkldnn_reorder_conv2d_weight  # its declaration lacks arguments
    ordered = order(weight[:, :, None].contiguous().to_mkldnn(), *settings, image)

    def step(x: Tensor) -> Tensor:
        columns = x.t()[None, :, None]  # an image of height 1 with channels last
        y = torch.ops.mkldnn._convolution_pointwise(columns, ordered, bias, *settings, "none", [], "")
        back: Tensor = y[0, :, 0].t()
        return back.contiguous()

    return step


def products(weight: Tensor, bias: Tensor, groups: int, rows: int) -> Step:
    """Return the convolution for weights [O, I, 1], called with `rows` rows at a time whatever comes."""
    multiply = direct(weight, bias, groups, rows)

    def step(x: Tensor) -> Tensor:
        missing = -len(x) % rows
        parts = [multiply(_filled(part, rows)) for part in x.split(rows)]
        y = torch.cat(parts) if len(parts) > 1 else parts[0]
        return y[: len(y) - missing]

    return step


def short(weight: Tensor, bias: Tensor, made: Points) -> Step:
    """Return the convolution for weights [O, I, k] by products at points."""
    outputs, inputs, taps = weight.shape
    spread, gather = (torch.from_numpy(matrix).float() for matrix in (made.spread, made.gather))
    (count, window), results = spread.shape, len(gather)
    at_points = torch.tensordot(torch.from_numpy(made.weigh).float(), weight, ([1], [2]))  # [F, O, I]
    shifts = bias.new_zeros(count, outputs)
    shifts[ONE] = bias
    multiply = direct(at_points.flatten(0, 1)[..., None], shifts.flatten(), count, WINDOWS)
    spread, gather = spread.expand(WINDOWS, -1, -1), gather.expand(WINDOWS, -1, -1)
    stride = WINDOWS * results

    def step(x: Tensor) -> Tensor:
        rows = len(x) - taps + 1
        y = x.new_empty(-(-rows // stride), WINDOWS, results, outputs)
        for index, out in enumerate(y):
            part = _filled(x[index * stride : (index + 1) * stride + taps - 1], stride + taps - 1)
            overlapping = part.as_strided((WINDOWS, window, inputs), (results * inputs, inputs, 1))
            values = multiply(torch.bmm(spread, overlapping).view(WINDOWS, -1))
            torch.bmm(gather, values.view(WINDOWS, count, outputs), out=out)
        return y.view(-1, outputs)[:rows]

    return step


def _filled(x: Tensor, rows: int) -> Tensor:
    """Return rows [rows, C]: x, and zeros where it ends before."""
    return F.pad(x, (0, 0, 0, rows - len(x))) if len(x) < rows else x
