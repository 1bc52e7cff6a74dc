"""The batch runner with an action that only copies: failures, skips, stops, a full disk, many files."""

from __future__ import annotations

import errno
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dacfile.errors import ChecksumError, OutputExists, UnsupportedAudio
from dacfile.events import FileDone, FileFailed, FileSkipped, Finished, Planned, Progress
from dacfile.plan import Plan, Problem, Task
from dacfile.runner import Outcome, Stop, _Crew, run


class Copy:
    """Copies sources; contents say what goes wrong."""

    def __init__(self) -> None:
        self.verdict: FileSkipped | None = None
        self.hook = lambda task: None
        self.checked: list[Path] = []

    def existing(self, task: Task) -> FileSkipped | None:
        return self.verdict

    def __call__(self, task, stream, progress) -> Outcome:
        data = task.source.read_bytes()
        stream.write(data[: len(data) // 2])
        progress(0.5, 1.0)
        self.hook(task)
        progress(1.0, 1.0)
        if data == b"damaged":
            raise ChecksumError(f"{task.source}: block 3\n is damaged")
        if data == b"full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if data == b"bug":
            raise KeyError("surprise")
        stream.write(data[len(data) // 2 :])
        return Outcome(2.0, 2, 0.5, ("a note",))

    def after(self, task: Task, made: bool) -> None:
        self.checked.append(task.target)


def make_tasks(folder: Path, contents: list[bytes]) -> Plan:
    plan = Plan()
    for i, data in enumerate(contents):
        source = folder / f"{i:05d}.wav"
        source.write_bytes(data)
        plan.tasks.append(Task(source, folder / "out" / f"{i:05d}.wav.dacz", len(data)))
    return plan


def outputs(folder: Path) -> list[str]:
    return sorted(p.name[:5] for p in (folder / "out").iterdir()) if (folder / "out").exists() else []


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.parametrize("jobs", [1, 4])
def test_bad_files_do_not_stop_the_batch(tmp_path, jobs):
    plan = make_tasks(tmp_path, [b"one", b"damaged", b"bug", b"four"])
    events = list(run(plan, Copy(), jobs=jobs))
    assert isinstance(events[0], Planned)
    assert outputs(tmp_path) == ["00000", "00003"]
    failed = sorted(of(FileFailed, events), key=lambda e: e.source)
    assert [e.kind for e in failed] == ["ChecksumError", "KeyError"]
    assert failed[0].reason == "block 3 is damaged"
    assert "internal error" in failed[1].reason
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.done, end.failed, end.exit_code) == (2, 2, 2)
    assert (end.seconds, end.channel_seconds, end.bytes_in, end.bytes_out) == (4.0, 8.0, 7, 7)


@pytest.mark.parametrize(("content", "code"), [(b"damaged", 3), (b"bug", 2), (b"good", 0)])
def test_a_single_file_gives_its_own_exit_code(tmp_path, content, code):
    assert list(run(make_tasks(tmp_path, [content]), Copy()))[-1].exit_code == code


def test_problems_of_the_plan_are_failures(tmp_path):
    plan = make_tasks(tmp_path, [b"one"])
    plan.problems.append(Problem(Path("x"), UnsupportedAudio("x: cannot be read")))
    events = list(run(plan, Copy()))
    assert of(FileFailed, events)[0].reason == "cannot be read"
    assert events[-1].exit_code == 2
    assert outputs(tmp_path) == ["00000"]


def test_existing_targets_are_skipped_replaced_or_failed(tmp_path):
    plan = make_tasks(tmp_path, [b"new"])
    action = Copy()
    (tmp_path / "out").mkdir()
    plan.tasks[0].target.write_bytes(b"old")
    action.verdict = FileSkipped(plan.tasks[0].source, "is done", done=True)
    assert of(FileSkipped, run(plan, action)) == [replace(action.verdict, bytes_in=3)]
    assert plan.tasks[0].target.read_bytes() == b"old"

    action.existing = lambda task: (_ for _ in ()).throw(OutputExists("in the way"))
    assert of(FileFailed, run(plan, action))[0].kind == "OutputExists"
    assert plan.tasks[0].target.read_bytes() == b"old"

    action.existing = lambda task: None
    assert len(of(FileDone, run(plan, action))) == 1
    assert plan.tasks[0].target.read_bytes() == b"new"


@pytest.mark.parametrize("may_skip", [True, False])
def test_a_target_that_another_process_finishes_first_is_judged_again(tmp_path, may_skip):
    plan, copy = make_tasks(tmp_path, [b"one"]), Copy()
    copy.hook = lambda task: task.target.write_bytes(b"theirs")
    copy.verdict = FileSkipped(plan.tasks[0].source, "is done", done=True) if may_skip else None
    events = list(run(plan, copy))
    assert len(of(FileSkipped, events)) == may_skip
    assert len(of(FileFailed, events)) == (not may_skip)
    assert plan.tasks[0].target.read_bytes() == b"theirs"
    assert outputs(tmp_path) == ["00000"]


def test_a_failed_check_afterwards_is_a_failure(tmp_path):
    action = Copy()

    def check(task, made):
        raise ChecksumError("read back: differs")

    action.after = check
    events = list(run(make_tasks(tmp_path, [b"one"]), action))
    assert events[-1].exit_code == 3
    assert not of(FileDone, events)


def test_a_full_disk_stops_the_batch_with_one_message(tmp_path):
    plan = make_tasks(tmp_path, [b"one", b"full"] + [b"more"] * 50)
    events = list(run(plan, Copy()))
    assert outputs(tmp_path) == ["00000"]
    assert len(of(FileFailed, events)) == 1
    assert "disk is full" in events[-1].message
    assert events[-1].exit_code == 2


@pytest.mark.parametrize("now", [False, True])
def test_stopping_finishes_or_removes_the_current_file(tmp_path, now):
    stop = Stop()
    action = Copy()
    action.hook = lambda task: stop.now() if now else stop.finish()
    events = list(run(make_tasks(tmp_path, [b"one", b"two"]), action, stop=stop))
    assert outputs(tmp_path) == ([] if now else ["00000"])
    assert events[-1].exit_code == 130
    assert events[-1].message == "interrupted"


def test_leaving_the_loop_removes_what_is_in_flight(tmp_path):
    action = Copy()
    started = threading.Event()
    action.hook = lambda task: started.set()
    for event in run(make_tasks(tmp_path, [b"x" * 10_000] * 50), action, jobs=2):
        if isinstance(event, Progress):
            started.wait()
            break
    assert len(outputs(tmp_path)) < 50
    assert not list((tmp_path / "out").glob(".dacz-tmp-*"))
    assert threading.active_count() == 1


def test_a_thousand_files_with_one_percent_damaged(tmp_path):
    contents = [b"damaged" if i % 100 == 7 else b"good %d" % i for i in range(1000)]
    events = list(run(make_tasks(tmp_path, contents), Copy(), jobs=2))
    assert (events[-1].done, events[-1].failed, events[-1].exit_code) == (990, 10, 2)
    assert len(outputs(tmp_path)) == 990


def test_a_thread_that_is_slow_to_end_is_no_interrupt(tmp_path, monkeypatch):
    work = _Crew._work

    def dawdle(crew) -> None:
        work(crew)
        time.sleep(0.2)  # its last word is said, but it is still alive: so on a busy machine

    monkeypatch.setattr(_Crew, "_work", dawdle)
    end = list(run(make_tasks(tmp_path, [b"a", b"b"]), Copy(), jobs=2))[-1]
    assert (end.done, end.exit_code, end.message) == (2, 0, "")
