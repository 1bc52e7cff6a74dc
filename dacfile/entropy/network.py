"""The integer context network of spec/priors.md: its numbers, its layers, and nothing about bytes.

Every value is a whole number (or one divided by a fixed power of two) held in float32. The bounds checked on loading
keep all numerators below 2**24, where float32 sums of products are exact in any order: every BLAS gives the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from dacfile.errors import UnsafeWeights

KIND = "network"
UNIT = 32  # activations are whole numbers of 1/32
LIMIT = 127
STATE_SHIFT = 4  # the state is kept in sixteenths of the activations' unit
STATE_BITS = 9  # log2(UNIT) + STATE_SHIFT
STATE_LIMIT = 32_767
EXACT = 1 << 24
CARRIER = np.float32  # holds the whole numbers; wider ones give the same results
EXPONENTS = ("table", "mix", "back", "head", "group", "member")
_MOST_NUMBERS = 1 << 26
_ROWS = 512  # rows of one pass: the working set stays in the second-level cache


@dataclass(frozen=True)
class NetworkConfig:
    """The sizes of a context network; `groups` squared is the codebook size."""

    codebooks: int
    codebook_size: int
    groups: int
    phases: int = 1
    width: int = 128
    hidden: int = 128
    taps: int = 5
    head: int = 128
    own_past: tuple[int, ...] = (0, 1, 2)
    lags: int = 8
    past_width: int = 48

    @property
    def members(self) -> int:
        """Return the number of members of a group."""
        return self.codebook_size // self.groups

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON-able values."""
        return {**asdict(self), "own_past": list(self.own_past)}


def half(shift: int) -> int:
    """Return what makes a right shift round to nearest, halves up."""
    return 1 << shift >> 1


def floored(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return `clip(floor(values), low, high)`, computed in place."""
    np.floor(values, out=values)
    return np.clip(values, low, high, out=values)


class Layer:
    """The weights of one codebook, ready for row-wise products: transposed, divided by 2**e, with e from the file.

    A sum of such products is the integer network's sum divided by 2**e, exactly; with the rounding half already in the
    bias, its floor is the integer network's right shift.
    """

    def __init__(
        self, config: NetworkConfig, index: int, tensors: Mapping[str, np.ndarray], e: Mapping[str, int]
    ) -> None:
        def weight(name: str, shift: int) -> np.ndarray:
            return tensors[f"{index}.{name}"].astype(CARRIER) * CARRIER(0.5**shift)

        def bias(name: str) -> np.ndarray:
            return (tensors[f"{index}.{name}_bias"].astype(CARRIER) + half(e[name])) * CARRIER(0.5 ** e[name])

        self.order = tensors[f"{index}.order"].astype(np.uint16)
        self.position = np.argsort(self.order).astype(np.int32)
        self.table = tensors[f"{index}.table"].astype(CARRIER) * CARRIER(1 << STATE_BITS - e["table"])
        self.mix = np.ascontiguousarray(weight("mix", e["mix"]).T)
        self.mix_bias = bias("mix")
        shift = e["back"] - STATE_SHIFT
        self.back = np.ascontiguousarray(weight("back", shift).T)
        self.back_half = CARRIER(half(shift) * 0.5**shift)
        self.head = np.ascontiguousarray(weight("head", e["head"]).T)
        self.reference = np.ascontiguousarray(weight("reference", e["head"]).T)
        self.head_bias = bias("head")
        self.group = np.ascontiguousarray(weight("group", e["group"]).T)
        self.group_bias = bias("group")
        self.member = np.ascontiguousarray(weight("member", e["member"]).transpose(0, 2, 1))
        self.member_bias = bias("member")
        self.past: np.ndarray | None = None
        if index in config.own_past:
            # [N, lags, head]: what a code adds to the sums of the next frames, the product done once for every code
            products = np.matmul(weight("recent", 0), weight("past", e["head"]))
            self.past = np.ascontiguousarray(products.transpose(1, 0, 2))


class Network:
    """Inference over the rows (frames) of one lane, a coded channel of one block. Arrays are float32 [frames, ...]."""

    def __init__(
        self, config: NetworkConfig, tensors: Mapping[str, np.ndarray], exponents: list[dict[str, int]]
    ) -> None:
        self.config = config
        self._start = tensors["start"].astype(CARRIER)
        self.layers = [Layer(config, k, tensors, e) for k, e in enumerate(exponents)]
        self._stack()

    def _stack(self) -> None:
        """Put what the frame-by-frame decoding looks up for several layers at once into arrays over all layers."""
        self.group_biases = np.stack([layer.group_bias for layer in self.layers])
        self.member_biases = np.concatenate([layer.member_bias for layer in self.layers])  # [layers * groups, members]
        self.orders = np.concatenate([layer.order for layer in self.layers])
        c, count = self.config, self.config.codebook_size
        self.members = np.empty((c.codebooks * c.groups, c.head, c.members), CARRIER)
        self.with_past = sorted(c.own_past)
        self.pasts = np.empty((len(self.with_past) * count, c.lags, c.head), CARRIER)
        for k, layer in enumerate(self.layers):  # the layers' own arrays become views, so that memory holds them once
            mine = self.members[k * c.groups : (k + 1) * c.groups]
            mine[:] = layer.member
            layer.member = mine
            if layer.past is not None:
                at = self.with_past.index(k) * count
                self.pasts[at : at + count] = layer.past
                layer.past = self.pasts[at : at + count]

    def start(self, role: int, first_frame: int, frames: int) -> np.ndarray:
        """Return the state before any layer is known; `role` is 1 for a channel that looks at channel 0, else 0."""
        return self._start[role, (first_frame + np.arange(frames)) % self.config.phases]

    def activation(self, state: np.ndarray) -> np.ndarray:
        """Return the int8-valued activations of a state."""
        values = state * CARRIER(0.5**STATE_SHIFT)
        values += CARRIER(0.5)
        return floored(values, -LIMIT, LIMIT)

    def mix(self, k: int, seen: np.ndarray, state: np.ndarray) -> None:
        """Add what layer k makes of the activations `seen` to `state` [frames, width], in place.

        `seen` holds taps // 2 more rows than `state` on both sides.
        """
        for a in range(0, len(state), _ROWS):
            self._mix(self.layers[k], seen[a:], state[a : a + _ROWS])

    def _mix(self, layer: Layer, seen: np.ndarray, state: np.ndarray) -> None:
        shape = (len(state), self.config.taps * self.config.width)
        windows = np.lib.stride_tricks.as_strided(seen, shape, seen.strides)
        hidden = np.matmul(np.ascontiguousarray(windows), layer.mix)
        hidden += layer.mix_bias
        change = np.matmul(floored(hidden, 0, LIMIT), layer.back)
        change += layer.back_half
        np.floor(change, out=change)
        change += state
        np.clip(change, -STATE_LIMIT, STATE_LIMIT, out=state)

    def head_sums(self, k: int, x: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
        """Return the head's sums of layer k before its own past is added; `reference`: channel 0's activations."""
        layer = self.layers[k]
        sums = np.matmul(x, layer.head)
        if reference is not None:
            sums += np.matmul(reference, layer.reference)
        sums += layer.head_bias
        return sums

    def add_past(self, k: int, sums: np.ndarray, codes: np.ndarray) -> None:
        """Add to the sums what the layer's own codes [frames] say about the frames after them, in place."""
        past = self.layers[k].past
        if past is not None:
            for lag in range(1, min(self.config.lags + 1, len(codes))):
                sums[lag:] += past[codes[:-lag], lag - 1]

    def group_logits(self, k: int, values: np.ndarray) -> np.ndarray:
        """Return the logits [frames, groups] for finished head `values`."""
        logits = np.matmul(values, self.layers[k].group)
        logits += self.layers[k].group_bias
        return np.floor(logits, out=logits)

    def member_logits(self, k: int, values: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Return the logits [frames, members] within the given `groups` [frames]; one product for each group."""
        layer = self.layers[k]
        rows = np.argsort(groups, kind="stable")
        bounds = np.searchsorted(groups[rows], np.arange(self.config.groups + 1)).tolist()
        ordered = values[rows]
        logits = np.empty((len(values), self.config.members), CARRIER)
        for g in range(self.config.groups):
            a, b = bounds[g], bounds[g + 1]
            if a < b:
                logits[rows[a:b]] = np.matmul(ordered[a:b], layer.member[g]) + layer.member_bias[g]
        return np.floor(logits, out=logits)


def shapes(config: NetworkConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype and shape of every tensor of a network of this configuration."""
    c = config
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {"start": ("int32", (2, c.phases, c.width))}
    for k in range(c.codebooks):
        layer: dict[str, tuple[str, tuple[int, ...]]] = {
            "order": ("uint16", (c.codebook_size,)),
            "table": ("int8", (c.codebook_size, c.width)),
            "mix": ("int8", (c.hidden, c.taps * c.width)),
            "mix_bias": ("int32", (c.hidden,)),
            "back": ("int8", (c.width, c.hidden)),
            "head": ("int8", (c.head, c.width)),
            "reference": ("int8", (c.head, c.width)),
            "head_bias": ("int32", (c.head,)),
            "group": ("int8", (c.groups, c.head)),
            "group_bias": ("int32", (c.groups,)),
            "member": ("int8", (c.groups, c.members, c.head)),
            "member_bias": ("int32", (c.groups, c.members)),
        }
        if k in c.own_past:
            layer["recent"] = ("int8", (c.codebook_size, c.past_width))
            layer["past"] = ("int8", (c.lags, c.past_width, c.head))
        wanted.update({f"{k}.{name}": spec for name, spec in layer.items()})
    return wanted


def parse_config(config: Mapping[str, Any]) -> tuple[NetworkConfig, list[dict[str, int]]]:
    """Return sizes and weight exponents of a file's configuration. Raises UnsafeWeights when they are impossible."""
    try:
        sizes = {f.name: config[f.name] for f in fields(NetworkConfig)}
        exponents = [dict(zip(EXPONENTS, row, strict=True)) for row in config["exponents"]]
        own_past = tuple(sizes.pop("own_past"))
    except (KeyError, TypeError, ValueError) as error:
        raise UnsafeWeights(f"network prior: incomplete configuration ({error})") from error
    numbers = [*sizes.values(), *own_past, *(e for row in exponents for e in row.values())]
    if not all(type(n) is int and 0 <= n <= 4096 for n in numbers):
        raise UnsafeWeights("network prior: sizes must be whole numbers in 0..4096")
    result = NetworkConfig(**sizes, own_past=own_past)
    _check_sizes(result, exponents)
    return result, exponents


def _check_sizes(c: NetworkConfig, exponents: list[dict[str, int]]) -> None:
    smallest = min(c.codebooks, c.groups, c.phases, c.width, c.hidden, c.head, c.lags, c.past_width)
    if smallest < 1 or c.codebooks > 64 or c.groups < 2 or c.groups**2 != c.codebook_size or c.taps % 2 == 0:
        raise UnsafeWeights("network prior: sizes must be positive, taps odd, the codebook size the square of groups")
    if (
        len(exponents) != c.codebooks
        or len(set(c.own_past)) != len(c.own_past)
        or max(c.own_past, default=0) >= c.codebooks
    ):
        raise UnsafeWeights("network prior: one row of exponents per codebook; own_past names codebooks")
    # Against files that are small but would make large arrays: the products of `past`, the windows of `mix`.
    if len(c.own_past) * c.codebook_size * c.lags * c.head > _MOST_NUMBERS or c.taps * c.width > _MOST_NUMBERS // 4096:
        raise UnsafeWeights("network prior: sizes beyond what any codec needs")
    for e in exponents:
        if e["table"] > STATE_BITS or e["back"] < STATE_SHIFT or max(e.values()) > 20:
            raise UnsafeWeights("network prior: a weight exponent is out of range")


def check_tensors(config: NetworkConfig, exponents: list[dict[str, int]], tensors: Mapping[str, np.ndarray]) -> None:
    """Raise UnsafeWeights unless names, types, shapes, permutations and exactness bounds hold."""
    wanted = shapes(config)
    found = {name: (tensor.dtype.name, tensor.shape) for name, tensor in tensors.items()}
    if found != wanted:
        odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise UnsafeWeights(f"network prior: missing or unexpected tensors: {', '.join(odd[:3])}")
    for name, tensor in tensors.items():
        if tensor.dtype == np.int8 and tensor.size and tensor.min() < -LIMIT:
            raise UnsafeWeights(f"network prior: {name} holds -128")
    if np.abs(tensors["start"].astype(np.int64)).max() > STATE_LIMIT:
        raise UnsafeWeights("network prior: start is beyond the limits of the state")
    for k, e in enumerate(exponents):
        if not np.array_equal(np.sort(tensors[f"{k}.order"]), np.arange(config.codebook_size)):
            raise UnsafeWeights(f"network prior: {k}.order is no permutation")
        if _largest_sum(config, k, e, tensors) >= EXACT:
            raise UnsafeWeights(f"network prior: a sum of layer {k} could reach 2^24")


def _largest_sum(config: NetworkConfig, k: int, e: Mapping[str, int], tensors: Mapping[str, np.ndarray]) -> int:
    def bound(name: str, axis: int | tuple[int, ...]) -> np.ndarray:
        return np.abs(tensors[f"{k}.{name}"].astype(np.int64)).sum(axis) * LIMIT

    def bias(name: str) -> np.ndarray:
        return np.abs(tensors[f"{k}.{name}_bias"].astype(np.int64)) + half(e[name])

    head = bound("head", 1) + bound("reference", 1) + bias("head")
    if k in config.own_past:
        head = head + bound("past", (0, 1))
    sums = [
        bound("mix", 1) + bias("mix"),
        bound("back", 1) + half(e["back"] - STATE_SHIFT),
        head,
        bound("group", 1) + bias("group"),
        bound("member", 2) + bias("member"),
    ]
    return max(int(s.max()) for s in sums)
