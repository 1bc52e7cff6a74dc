"""The golden bytes of the entropy coder: made once, committed, and met by every numpy, BLAS and machine.

python tests/golden_entropy.py            check, with numpy, constriction and safetensors alone
python tests/golden_entropy.py --write    make them again, after a deliberate change of the format
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from network_case import likely_codes, random_prior

from dacfile.entropy import decode_blocks, encode_blocks, load_prior
from dacfile.entropy.files import save_prior
from dacfile.entropy.network import NetworkConfig

FOLDER = Path(__file__).parent / "golden"
PRIOR, CASES = FOLDER / "network.prior.safetensors", FOLDER / "entropy.json"
# Runs of layers with own past, one without between them; blocks longer than a step of the decoder and unequal.
CONFIG = NetworkConfig(
    6, 64, 8, phases=2, width=12, hidden=20, taps=5, head=16, own_past=(0, 1, 2, 4, 5), lags=3, past_width=6
)
BLOCKS = ([(6, 130)], [(6, 60), (4, 60)], [(6, 49), (6, 49), (2, 49)], [(3, 7), (6, 7)])


def write() -> None:
    """Make the prior, the codes and the bytes."""
    FOLDER.mkdir(exist_ok=True)
    prior = random_prior(CONFIG, seed=21)
    save_prior(prior, PRIOR)
    cases = []
    for number, layout in enumerate(BLOCKS):
        codes = likely_codes(prior, list(layout), first=number, seed=number)
        stored = encode_blocks(prior, [codes], [number])[0]
        streams = [[data.hex() for data, _ in layers] for layers in stored]
        cases.append({"first": number, "codes": [array.tolist() for array in codes], "streams": streams})
    CASES.write_text(json.dumps(cases) + "\n")


def check() -> int:
    """Return the number of layers whose bytes and codes are the golden ones. Raises ValueError where they are not."""
    prior, cases = load_prior(PRIOR), json.loads(CASES.read_text())
    firsts = [case["first"] for case in cases]
    blocks = [[np.array(codes, np.uint16) for codes in case["codes"]] for case in cases]
    stored = encode_blocks(prior, blocks, firsts)
    found = [[[data.hex() for data, _ in layers] for layers in block] for block in stored]
    if found != [case["streams"] for case in cases]:
        raise ValueError(f"numpy {np.__version__} codes other bytes than the golden ones")
    decoded = decode_blocks(prior, stored, [block[0].shape[1] for block in blocks], None, firsts)
    pairs = [(a, b) for x, y in zip(blocks, decoded, strict=True) for a, b in zip(x, y, strict=True)]
    if not all(b is not None and np.array_equal(a, b) for a, b in pairs):
        raise ValueError(f"numpy {np.__version__} decodes other codes than the golden ones")
    return sum(len(codes) for block in blocks for codes in block)


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
    print(f"{check()} layers are the golden ones with numpy {np.__version__}")
