"""Count tables learned from codes: close to the order-0 entropy, usable for codes never seen."""

from __future__ import annotations

import numpy as np
import pytest

from dacfile.entropy import decode_blocks, encode_blocks
from dacfile.training.prior_counts import train_count_prior, train_counts


@pytest.mark.parametrize("phases", [1, 2])
def test_tables_follow_the_frequencies(phases: int) -> None:
    codes = np.zeros((2, 20_000), np.uint16)
    codes[1, 1::2] = 5
    tables = train_counts([codes, codes[:1]], 16, phases)
    assert tables.shape == (2, phases, 16)
    assert (tables.sum(-1) == 2**24 - 16).all()
    expected = [[0.0, 1.0]] if phases == 2 else [[0.5]]
    share = tables[1, :, 5] / 2**24
    assert np.allclose(share, expected, atol=0.03)


def test_size_is_close_to_the_entropy_and_unseen_codes_still_code() -> None:
    generator = np.random.default_rng(3)
    weights = generator.dirichlet(np.full(1024, 0.3))
    codes = generator.choice(1024, (1, 40_000), p=weights).astype(np.uint16)
    prior = train_count_prior([codes])
    sample = generator.choice(1024, (1, 5_000), p=weights).astype(np.uint16)
    entropy = -(weights[weights > 0] * np.log2(weights[weights > 0])).sum()
    data, _ = encode_blocks(prior, [[sample]], [0])[0][0][0]
    assert entropy * 5_000 / 8 * 0.98 < len(data) < entropy * 5_000 / 8 * 1.03
    unseen = np.arange(1024, dtype=np.uint16)[None]
    stored = encode_blocks(prior, [[unseen]], [0])
    assert np.array_equal(decode_blocks(prior, stored, [1024])[0][0], unseen)
