"""Linear maps on a CPU: the fast ones are the plain one, and bytes are multiplied only where the sums are exact."""

from __future__ import annotations

import pytest
import torch

from dacfile.model import products_cpu

CPU = torch.device("cpu")
needs_bytes = pytest.mark.skipif(not products_cpu.is_whole_supported(), reason="no exact products of bytes here")


@needs_bytes
@pytest.mark.parametrize("shape", [(1, 5, 128), (3, 40, 7), (2, 576, 640)])
@torch.inference_mode()
def test_products_of_whole_numbers_are_exact(shape):
    torch.manual_seed(0)
    x = torch.randint(-127, 128, shape).float()
    weight, bias = torch.randint(-128, 128, (33, shape[-1])) / 64, torch.randint(-1000, 1000, (33,)) / 8
    wanted = (x.double() @ weight.double().T + bias).float()
    assert torch.equal(products_cpu.whole(weight, bias)(x), wanted)
    assert torch.equal(products_cpu.whole(weight)(x), (x.double() @ weight.double().T).float())


@pytest.mark.parametrize("power", [0, 3, -5, -25])
def test_whole_numbers_times_a_power_of_two_are_found(power):
    weight = torch.tensor([[-128.0, 127], [1, 0]]) * 2.0**power
    numbers, unit = products_cpu.whole_numbers(weight)
    assert numbers.dtype == torch.int8
    assert torch.equal(numbers * unit, weight)


@pytest.mark.parametrize("weight", [[[0.1]], [[1.0, 300.0]], [[1.0, 2.0**-9]]])
def test_other_weights_are_refused(weight):
    with pytest.raises(ValueError, match="not whole numbers"):
        products_cpu.whole_numbers(torch.tensor(weight))


def test_the_fastest_that_is_exact_is_taken(monkeypatch):
    monkeypatch.setattr(products_cpu, "is_whole_supported", lambda: True)
    assert products_cpu.for_whole_numbers(CPU) is products_cpu.whole
    monkeypatch.setattr(products_cpu, "is_whole_supported", lambda: False)
    monkeypatch.setattr(products_cpu, "is_supported", lambda: True)
    assert products_cpu.for_whole_numbers(CPU) is products_cpu.packed
    monkeypatch.setattr(products_cpu, "is_supported", lambda: False)
    assert products_cpu.for_whole_numbers(CPU) is products_cpu.plain
    assert products_cpu.for_whole_numbers(torch.device("cuda")) is products_cpu.plain


def test_sums_that_saturate_are_noticed(monkeypatch):
    def saturating(weight, bias=None):
        return lambda x: (x @ weight.T).clamp(-(1 << 15), (1 << 15) - 1)

    products_cpu.is_whole_supported.cache_clear()
    monkeypatch.setattr(products_cpu, "whole", saturating)
    assert not products_cpu.is_whole_supported()
    monkeypatch.undo()
    products_cpu.is_whole_supported.cache_clear()
