"""Threads that ask for the same thing at the same time share a call, and each gets its own answer."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from stub_codec import StubCodec

from dacfile import batch
from dacfile.combine import Combiner, SharedCodec, SharedPrior
from dacfile.entropy import decode_blocks, encode_blocks
from dacfile.entropy.counts import CountPrior, normalise
from dacfile.errors import EntropyMismatch
from dacfile.events import FileDone, FileFailed
from dacfile.plan import Plan, Task

THREADS = 6


def together(work, count=THREADS):
    """Call work(0), work(1), ... in threads that start at the same time."""
    barrier = threading.Barrier(count)

    def one(number):
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(one, number) for number in range(count)]]


def slow_first(calls, reached, go):
    """Work that holds up its first call until all others wait behind it; "bad" is an error, "lost" has no result."""

    def work(requests):
        calls.append(list(requests))
        if len(calls) == 1:
            reached.set()
            assert go.wait(10)
        if "bad" in requests:
            raise EntropyMismatch("bad")
        return [f"{request}!" for request in requests if request != "lost"]

    return work


def wait_for(combiner, count):
    """Return when so many requests wait for a worker."""
    until = time.monotonic() + 10
    while len(combiner._waiting) < count:
        assert time.monotonic() < until
        time.sleep(0.001)


def pile_up(requests, kinds):
    """Return (what each request got or raised, the calls) when all come while a first call runs."""
    calls, reached, go = [], threading.Event(), threading.Event()
    combiner = Combiner(slow_first(calls, reached, go))
    with ThreadPoolExecutor(len(requests) + 1) as pool:
        first = pool.submit(combiner, "first", "first")
        assert reached.wait(10)
        futures = [pool.submit(combiner, kind, request) for kind, request in zip(kinds, requests, strict=True)]
        wait_for(combiner, len(requests))
        go.set()
        assert first.result() == "first!"
        return [future.exception() or future.result() for future in futures], calls


def test_what_piles_up_is_one_call_of_each_kind():
    results, calls = pile_up(["a", "b", "c", "d"], [1, 2, 1, 2])
    assert results == ["a!", "b!", "c!", "d!"]
    assert sorted(map(sorted, calls[1:])) == [["a", "c"], ["b", "d"]]


def test_an_error_reaches_only_the_thread_that_caused_it():
    results, _ = pile_up(["a", "bad", "c"], [1, 1, 1])
    assert results[0] == "a!"
    assert isinstance(results[1], EntropyMismatch)
    assert results[2] == "c!"


def test_a_missing_result_is_an_error_for_one_thread_and_no_other_waits_for_it():
    results, _ = pile_up(["a", "lost", "c"], [1, 1, 1])
    assert (results[0], results[2]) == ("a!", "c!")
    assert isinstance(results[1], ValueError)


def test_who_has_a_result_does_not_wait_for_the_call_after_it():
    held = {name: threading.Event() for name in ("first", "shared", "last")}
    begun = {name: threading.Event() for name in held}

    def work(requests):
        name = requests[0] if requests[0] in held else "shared"
        begun[name].set()
        assert held[name].wait(10)
        return requests

    combiner = Combiner(work)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(combiner, "first", "first")
        assert begun["first"].wait(10)
        sharers = [pool.submit(combiner, "shared", number) for number in range(3)]
        wait_for(combiner, 3)
        held["first"].set()
        assert begun["shared"].wait(10)
        last = pool.submit(combiner, "last", "last")
        wait_for(combiner, 1)
        held["shared"].set()
        assert [future.result(10) for future in (first, *sharers)] == ["first", 0, 1, 2]
        held["last"].set()
        assert last.result(10) == "last"


def test_as_many_calls_as_workers_run_at_the_same_time():
    both = threading.Barrier(2)

    def worker(name):
        def work(requests):
            both.wait(10)  # passes only when the other worker has a call, too
            return [f"{name}{request}" for request in requests]

        return work

    combiner = Combiner(worker("a"), worker("b"))
    results = together(lambda number: combiner(number, number), 2)
    assert {result[0] for result in results} == {"a", "b"}
    assert [result[1:] for result in results] == ["0", "1"]


def test_two_copies_of_a_codec_give_what_one_gives():
    copies = [StubCodec(), StubCodec()]
    shared = SharedCodec(*copies)
    length = copies[0].facts.lead + 40 * copies[0].facts.hop
    inputs = [np.random.default_rng(n).normal(0, 0.1, (2, length)).astype(np.float32) for n in range(40)]
    found = together(lambda number: [shared.encode_windows(x, [5, 5], [0, 1]) for x in inputs[number::4]], 4)
    assert all(copy.calls for copy in copies)
    for number, codes in enumerate(found):
        for x, code in zip(inputs[number::4], codes, strict=True):
            assert np.array_equal(code, StubCodec().encode_windows(x, [5, 5], [0, 1]))


def test_windows_of_all_threads_are_those_of_each_alone():
    codec, rng = StubCodec(), np.random.default_rng(0)
    shared = SharedCodec(codec)
    length = codec.facts.lead + 40 * codec.facts.hop
    inputs = [rng.normal(0, 0.1, (1 + number % 3, length)).astype(np.float32) for number in range(THREADS)]
    places = [([7 * number] * len(x), list(range(len(x)))) for number, x in enumerate(inputs)]
    codes = together(lambda number: shared.encode_windows(inputs[number], *places[number]))
    for x, place, found in zip(inputs, places, codes, strict=True):
        assert np.array_equal(found, codec.encode_windows(x, *place))
    samples = together(lambda number: shared.decode_windows(codes[number], *places[number]))
    previews = together(lambda number: shared.preview_windows(codes[number], *places[number]))
    for found, place, got, preview in zip(codes, places, samples, previews, strict=True):
        assert np.array_equal(got, codec.decode_windows(found, *place))
        assert np.array_equal(preview, codec.preview_windows(found, *place))


def test_gains_come_with_their_windows():
    class WithGains(StubCodec):
        def decode_windows(self, codes, first_frames, channels, gains=None):
            samples = super().decode_windows(codes, first_frames, channels)
            return samples if gains is None else samples * gains[:, :1, 0]

        preview_windows = decode_windows

    codec, rng = WithGains(), np.random.default_rng(0)
    shared = SharedCodec(codec)
    codes = rng.integers(0, 64, (THREADS, 2, 3, 40)).astype(np.uint16)
    gains = [rng.normal(1, 0.5, (2, 40, 4)).astype(np.float32) if number % 2 else None for number in range(THREADS)]
    for shared_call in (shared.decode_windows, shared.preview_windows):
        found = together(lambda number, call=shared_call: call(codes[number], [0, 0], [0, 1], gains[number]))
        for got, own, gain in zip(found, codes, gains, strict=True):
            assert np.array_equal(got, codec.decode_windows(own, [0, 0], [0, 1], gain))


@pytest.mark.parametrize("few", [0, 8])
def test_blocks_of_all_threads_are_decoded_as_alone(few):
    rng = np.random.default_rng(1)
    prior = CountPrior(normalise(rng.integers(1, 50, (3, 2, 64))).astype(np.int32))
    shared = SharedPrior(prior, few)
    assert shared.id == prior.id
    files = [[[rng.integers(0, 64, (3, 30 + n), dtype=np.uint16)] for _ in range(1 + n % 2)] for n in range(THREADS)]
    firsts = [[5 * n + block for block in range(len(blocks))] for n, blocks in enumerate(files)]
    stored = [encode_blocks(shared, blocks, first) for blocks, first in zip(files, firsts, strict=True)]

    def decode(n):
        return decode_blocks(shared, stored[n], [30 + n] * len(files[n]), None, firsts[n])

    for blocks, found in zip(files, together(decode), strict=True):
        for (codes,), (got,) in zip(blocks, found, strict=True):
            assert np.array_equal(got, codes)


def test_more_short_files_than_cores_are_in_flight_when_decompressing(tmp_path, monkeypatch):
    monkeypatch.setattr("dacfile.installed.cores", lambda: 2)

    def jobs(size, small):
        tasks = [Task(tmp_path / f"{n}.dacz", tmp_path / f"{n}.wav", size) for n in range(40)]
        return batch._jobs(Plan(tasks, [], []), 0, small)

    assert jobs(8_000, batch.SMALL_BYTES) == batch.MAX_JOBS
    assert jobs(40_000, batch.SMALL_BYTES) == 6
    assert jobs(10**7, batch.SMALL_BYTES) == 2
    assert jobs(8_000, 0) == 2


def test_a_damaged_file_among_many_is_the_only_one_that_fails(tmp_path, make_wav):
    (tmp_path / "in").mkdir()
    for number in range(12):
        make_wav(tmp_path / "in" / f"{number}.wav")
    settings = batch.CompressSettings(model="44k")
    list(batch.process(batch.plan_compress([tmp_path / "in"], tmp_path / "out"), settings))
    bad = tmp_path / "out" / "5.wav.dacz"
    data = bytearray(bad.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    plan = batch.plan_decompress([tmp_path / "out"], tmp_path / "back", None)
    events = list(batch.process(plan, batch.DecompressSettings()))
    assert [event.source.name for event in events if isinstance(event, FileFailed)] == ["5.wav.dacz"]
    assert sum(isinstance(event, FileDone) for event in events) == 11


class Gaining(StubCodec):
    """Multiplies what it decodes by the first gain of a window's first frame, and tells the sizes of its calls."""

    def decode_windows(self, codes, first_frames, channels, gains=None):
        samples = super().decode_windows(codes, first_frames, channels)
        return samples if gains is None else samples * gains[:, 0, :1]


def test_windows_with_gains_are_combined_with_their_own_gains():
    codec = Gaining()
    codes = np.arange(4 * 3 * 20, dtype=np.uint16).reshape(4, 3, 20) % 64
    gains = np.arange(1, 5, dtype=np.float32)[:, None, None] * np.ones((1, 20, 48), np.float32)
    shared = SharedCodec(codec)
    with ThreadPoolExecutor(8) as pool:
        calls = [(codes[i : i + 1], [i], [0], *((gains[i : i + 1],) if i % 2 else ())) for i in range(4)] * 8
        results = list(pool.map(lambda call: shared.decode_windows(*call), calls))
    for call, result in zip(calls, results, strict=True):
        np.testing.assert_array_equal(result, codec.decode_windows(*call))
    assert not np.array_equal(results[1], codec.decode_windows(*calls[1][:3]))
