"""Find the attacks of a block before which a decoder shall turn samples down (`dacfile.attacks`).

A place is a candidate where the sound that was coded rises steeply. Around candidates the codes are decoded; the depth
of each is the one with which the levels of a hop's sixteenths before it are nearest, in dB, to those of the sound, and
it is worth its bytes if they come nearer by so much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from dacfile.attacks import REACH, curve
from dacfile.container import Attack
from dacfile.container.block import ATTACK_STEPS, most_attacks

RISE_DB = 12.0  # of the mean power after a candidate, over the loudest sixteenth of the hop before it
AFTER = 6  # sixteenths
DEPTHS = np.arange(2, 61, 2)  # dB
FAINTEST_DB = -50.0  # below the attack: what is fainter is not heard before it
SMALLEST = 1e-12
# Sum over the sixteenths of two hops of how much nearer levels come, in dB, from which an attack is worth 24 bits.
WORTH = 60.0
REACHED = REACH * ATTACK_STEPS  # sixteenths before an attack

Decode = Callable[[Sequence[int], int], np.ndarray]  # first frames, frames -> samples [places, frames x hop]


def find_attacks(original: np.ndarray, hop: int, decode: Decode) -> tuple[Attack, ...]:
    """Return the attacks of a channel of a block, from its samples [n x hop].

    `decode` gives what has become of some frames of it. Attacks whose hops before them begin in another block are
    passed over.
    """
    if hop < ATTACK_STEPS:
        return ()
    levels = _powers(original[None], hop)[0]
    places = candidates(levels)
    if not len(places):
        return ()
    found: list[tuple[float, Attack]] = []
    firsts = np.unique(places // ATTACK_STEPS) - REACH
    decoded = _powers(decode(firsts.tolist(), REACH + 1), hop)
    for first, powers in zip(firsts, decoded, strict=True):
        for place in places[places // ATTACK_STEPS == first + REACH]:
            start = place - first * ATTACK_STEPS - REACHED
            depth, gain = best_depth(levels[place - REACHED : place + AFTER], powers[start : start + REACHED], hop)
            if gain > WORTH:
                found.append((gain, Attack(int(place), depth)))
    return _apart(found, most_attacks(len(original) // hop))


def candidates(powers: np.ndarray) -> np.ndarray:
    """Return the places, in sixteenths, at which these powers [16 n] rise steeply."""
    inner = len(powers) - AFTER + 1 - REACHED
    if inner <= 0:
        return np.zeros(0, np.int64)
    after = np.lib.stride_tricks.sliding_window_view(powers, AFTER).mean(-1)[REACHED:]
    before = np.lib.stride_tricks.sliding_window_view(powers, ATTACK_STEPS).max(-1)[REACHED - ATTACK_STEPS :][:inner]
    rise = 10 ** (RISE_DB / 10)
    steep = (after > (before + SMALLEST) * rise) & (powers[REACHED:][:inner] > before * rise**0.5)
    return np.flatnonzero(steep) + REACHED


def best_depth(original: np.ndarray, decoded: np.ndarray, hop: int) -> tuple[int, float]:
    """Return the best depth of an attack, dB, and how much nearer levels are with it, the sum over sixteenths in dB.

    From powers of the sound, of the REACHED sixteenths before the attack and of AFTER from it on, and from
    what is decoded before it.
    """
    floor = original[REACHED:].mean() * 10 ** (FAINTEST_DB / 10) + SMALLEST
    wanted = 10 * np.log10(original[:REACHED] + floor)
    errors = np.abs(10 * np.log10(decoded * _factors(hop) + floor) - wanted).sum(-1)
    best = int(errors.argmin())
    return (int(DEPTHS[best - 1]), float(errors[0] - errors[best])) if best else (0, 0.0)


@lru_cache(maxsize=16)
def _factors(hop: int) -> np.ndarray:
    """Return what no attack, and one of each depth, makes of the powers before it, float64 [1 + depths, REACHED]."""
    share = curve(hop)[_edges(REACH * hop, hop)[:-1] + hop // ATTACK_STEPS // 2]
    return np.asarray(10 ** (-np.outer(np.append(0, DEPTHS), share) / 10))


def _apart(found: Sequence[tuple[float, Attack]], most: int) -> tuple[Attack, ...]:
    """Return those of most use that are a hop apart, in their order."""
    chosen: list[Attack] = []
    for _, attack in sorted(found, key=lambda entry: (-entry[0], entry[1])):
        if all(abs(attack.position - other.position) >= ATTACK_STEPS for other in chosen):
            chosen.append(attack)
    return tuple(sorted(chosen[:most]))


def _powers(samples: np.ndarray, hop: int) -> np.ndarray:
    """Return the mean squares of the sixteenths of every hop of samples [B, n x hop], [B, 16 n]."""
    edges = _edges(samples.shape[1], hop)
    return np.add.reduceat(np.square(samples, dtype=np.float64), edges[:-1], axis=1) / np.diff(edges)


def _edges(samples: int, hop: int) -> np.ndarray:
    """Return the first samples of the sixteenths of every hop, and the end."""
    return np.arange(samples // hop * ATTACK_STEPS + 1) * hop // ATTACK_STEPS
