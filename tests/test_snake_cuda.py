"""Snake in one kernel: what it computes, in Triton's interpreter, and what stands in for it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from dacfile.model.layers import Snake, fused_snake

# The interpreter has to be chosen before Triton is imported, so the kernel runs in a process of its own.
SCRIPT = """
import torch
from dacfile.model.layers import SNAKE_EPSILON, Snake
from dacfile.model.snake_cuda import BLOCK, snake, working

assert working(torch.device("cpu")) is snake
torch.manual_seed(0)
for batch, channels, length in ((2, 5, 2 * BLOCK + 7), (3, 2, BLOCK), (1, 3, 1), (0, 2, 5)):
    layer = Snake(channels).requires_grad_(False)
    layer.alpha.uniform_(0.1, 3)
    x = 3 * torch.randn(batch, channels, 2 * length)[..., ::2]
    torch.testing.assert_close(snake(x, layer.alpha, SNAKE_EPSILON), layer(x), rtol=1e-6, atol=2e-6)
    half = x.bfloat16()
    found = snake(half, layer.alpha, SNAKE_EPSILON)
    assert found.dtype == half.dtype
    torch.testing.assert_close(found.float(), layer(half.float()), rtol=1e-2, atol=1e-2)
"""

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton comes with PyTorch for CUDA")


@needs_triton
def test_the_kernel_computes_snake():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    ran = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@needs_triton
def test_a_kernel_that_does_not_run_is_not_used():
    from dacfile.model import snake_cuda

    assert snake_cuda.working(torch.device("cpu")) is None


def test_without_triton_pytorch_does_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "dacfile.model.snake_cuda", raising=False)
    assert fused_snake.__wrapped__(torch.device("cuda")) is None


def test_on_cuda_the_kernel_is_used_unless_a_gradient_is_wanted(monkeypatch):
    monkeypatch.setattr("dacfile.model.layers.fused_snake", lambda device: lambda x, alpha, epsilon: 7 * x)
    layer, x = Snake(2), torch.ones(1, 2, 3)
    with torch.no_grad():
        assert torch.equal(layer(x), 7 * x)
    assert layer(x).requires_grad
