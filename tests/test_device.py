"""Where networks run: arithmetic that threads share, copies to and fro, batches for the memory that is free."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dacfile import device
from dacfile.device import LARGEST_BATCH, Transfer, batch_for, cuda_products, every_device


def flags() -> tuple[bool, ...]:
    """Return whether matrix products and convolutions are in TF32."""
    return tuple(value in (True, "tf32") for value in device._settings())


@pytest.mark.parametrize("tf32", [False, True])
def test_arithmetic_is_put_back_by_the_last_thread(tf32: bool) -> None:
    before, inside, leave = flags(), threading.Barrier(2), threading.Event()

    def stay() -> tuple[bool, bool]:
        with cuda_products(tf32):
            inside.wait(10)
            assert leave.wait(10)
            return flags()

    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(stay)
        with cuda_products(tf32):
            inside.wait(10)
            assert flags() == (tf32, tf32)
        assert flags() == (tf32, tf32)  # the other thread is still in there
        leave.set()
        assert staying.result() == (tf32, tf32)
    assert flags() == before


def test_threads_of_other_arithmetic_wait() -> None:
    entered = threading.Event()

    def enter() -> tuple[bool, bool]:
        with cuda_products(True):
            entered.set()
            return flags()

    with ThreadPoolExecutor(1) as pool:
        with cuda_products(False):
            waiting = pool.submit(enter)
            assert not entered.wait(0.1)
            assert flags() == (False, False)
        assert waiting.result() == (True, True)


@pytest.mark.skipif(not device._RENAMED, reason="this PyTorch has one way to set it")
def test_either_way_that_a_program_sets_the_arithmetic_is_kept() -> None:
    script = """
import torch
from dacfile.device import cuda_products
matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
for name, value, conv in (("allow_tf32", True, cudnn), ("fp32_precision", "tf32", cudnn.conv)):
    for place in (matmul, conv):
        setattr(place, name, value)
    with cuda_products(False):
        assert (matmul.fp32_precision, cudnn.conv.fp32_precision) == ("ieee", "ieee")
    assert (getattr(matmul, name), getattr(conv, name)) == (value, value)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_call_gives_float32_or_integers_of_the_host() -> None:
    transfer = Transfer(torch.device("cpu"))
    total = transfer(torch.add, [torch.ones(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.bfloat16)])
    assert total.dtype == torch.float32
    assert transfer(torch.add, [torch.ones(3, dtype=torch.long), torch.ones(3, dtype=torch.long)]).dtype == torch.long


@pytest.mark.parametrize(
    ("free", "window", "batch"),
    [(80 << 30, 1 << 20, LARGEST_BATCH), (10 << 30, 1 << 30, 4), (1 << 30, 1 << 30, 1), (0, 1, 1), (1 << 30, 0, 64)],
)
def test_batches_fit_into_free_memory(free: int, window: int, batch: int) -> None:
    assert batch_for(free, window) == batch


def test_a_name_stands_for_every_device_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    assert every_device("cpu") == ["cpu"]
    monkeypatch.setattr(device, "resolve_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert every_device("cuda") == ["cuda:0", "cuda:1", "cuda:2"]
    assert every_device("cuda:1") == ["cuda:1"]
    assert every_device("mps") == ["mps"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_streams_give_what_the_host_gives() -> None:
    on_device, inputs = Transfer(torch.device("cuda")), [torch.randn(64, 4096) for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda x: on_device(torch.abs, [x]), inputs * 8))
    for x, found in zip(inputs * 8, results, strict=True):
        assert torch.equal(found, x.abs())
