"""From inputs to a list of files: mirroring, links, odd files, collisions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dacfile.errors import UnsupportedAudio, UsageError
from dacfile.plan import compress_rules, decompress_rules, find_dacz, make_plan, read_list


@pytest.fixture
def tree(tmp_path):
    for name in ["b.wav", "a.FLAC", "cover.jpg", "sub/deep/c.mp3", "sub/d.ogg", "._b.wav", "sub/old.wav.dacz"]:
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    return tmp_path / "music"


def pairs(plan, root: Path) -> list[tuple[str, str]]:
    return [(os.path.relpath(t.source, root), os.path.relpath(t.target, root)) for t in plan.tasks]


def test_a_folder_is_walked_sorted_and_outputs_lie_beside(tree):
    plan = make_plan([tree], None, compress_rules())
    assert pairs(plan, tree) == [
        ("a.FLAC", "a.FLAC.dacz"),
        ("b.wav", "b.wav.dacz"),
        ("sub/d.ogg", "sub/d.ogg.dacz"),
        ("sub/deep/c.mp3", "sub/deep/c.mp3.dacz"),
    ]
    assert plan.size == sum(len(os.path.relpath(t.source, tree)) for t in plan.tasks)
    assert not plan.notes
    assert not plan.problems


def test_one_folder_is_mirrored_into_the_output(tree, tmp_path):
    plan = make_plan([tree], tmp_path / "out", compress_rules())
    assert [p[1] for p in pairs(plan, tmp_path / "out")] == [
        "a.FLAC.dacz", "b.wav.dacz", "sub/d.ogg.dacz", "sub/deep/c.mp3.dacz",
    ]  # fmt: skip


def test_folders_of_the_same_name_stay_apart(tmp_path):
    for parent in "xy":
        (tmp_path / parent / "music").mkdir(parents=True)
        (tmp_path / parent / "music" / "a.wav").write_bytes(b"")
    plan = make_plan([tmp_path / "x/music", tmp_path / "y/music"], tmp_path / "out", compress_rules())
    assert [p[1] for p in pairs(plan, tmp_path / "out")] == ["x/music/a.wav.dacz", "y/music/a.wav.dacz"]


def test_relative_inputs_with_dots_stay_inside_the_output(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tree / "sub")
    plan = make_plan([Path("../a.FLAC"), Path("d.ogg")], tmp_path / "out", compress_rules())
    assert [p[1] for p in pairs(plan, tmp_path / "out")] == ["a.FLAC.dacz", "sub/d.ogg.dacz"]


def test_a_single_file_may_be_given_its_output_name(tree, tmp_path):
    plan = make_plan([tree / "b.wav"], tmp_path / "x.dacz", compress_rules())
    assert plan.tasks[0].target == tmp_path / "x.dacz"
    (tmp_path / "y.dacz").mkdir()
    plan = make_plan([tree / "b.wav"], tmp_path / "y.dacz", compress_rules())
    assert plan.tasks[0].target == tmp_path / "y.dacz" / "b.wav.dacz"


def test_an_explicit_file_is_tried_whatever_its_name(tree):
    plan = make_plan([tree / "cover.jpg", tree / "sub/old.wav.dacz"], None, compress_rules())
    assert [t.source.name for t in plan.tasks] == ["cover.jpg"]
    assert plan.notes[0].reason == "is a .dacz file already"


def test_links_are_followed_and_loops_walked_once(tree, tmp_path):
    (tree / "sub" / "loop").symlink_to(tree)
    (tree / "sub" / "again").symlink_to(tree / "sub" / "deep")
    (tree / "nothing.wav").symlink_to(tree / "missing.wav")
    outside = tmp_path / "outside.wav"
    outside.write_bytes(b"12345")
    (tree / "z.wav").symlink_to(outside)
    plan = make_plan([tree], None, compress_rules())
    assert [p[0] for p in pairs(plan, tree)] == ["a.FLAC", "b.wav", "z.wav", "sub/d.ogg", "sub/deep/c.mp3"]
    assert plan.tasks[2].size == 5
    assert [(n.path.name, n.reason) for n in plan.notes] == [("nothing.wav", "a link to nothing")]


def test_what_is_no_regular_file_is_noted(tree):
    os.mkfifo(tree / "pipe.wav")
    plan = make_plan([tree], None, compress_rules())
    assert [(n.path.name, n.reason) for n in plan.notes] == [("pipe.wav", "not a regular file")]


def test_what_was_named_and_is_no_regular_file_is_a_problem(tree):
    os.mkfifo(tree / "pipe")
    plan = make_plan([tree / "pipe", tree / "b.wav"], None, compress_rules())
    assert [t.source.name for t in plan.tasks] == ["b.wav"]
    assert not plan.notes
    assert isinstance(plan.problems[0].error, UsageError)
    assert "not a regular file" in str(plan.problems[0].error)
    assert find_dacz([tree / "pipe"])[1][0].path == tree / "pipe"


def test_missing_inputs_are_problems_and_the_rest_goes_on(tree):
    plan = make_plan([tree / "missing", tree / "b.wav"], None, compress_rules())
    assert [t.source.name for t in plan.tasks] == ["b.wav"]
    assert isinstance(plan.problems[0].error, UsageError)
    assert "no such file" in str(plan.problems[0].error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_folder_is_a_problem(tree):
    (tree / "sub").chmod(0)
    try:
        plan = make_plan([tree], None, compress_rules())
    finally:
        (tree / "sub").chmod(0o700)
    assert [p.path.name for p in plan.problems] == ["sub"]
    assert len(plan.tasks) == 2


def test_an_output_inside_the_input_is_not_walked(tree):
    out = tree / "out"
    out.mkdir()
    (out / "made.wav").write_bytes(b"")
    plan = make_plan([tree], out, compress_rules())
    assert "out/made.wav" not in [p[0] for p in pairs(plan, tree)]
    assert len(plan.tasks) == 4


def test_the_same_file_twice_is_done_once(tree):
    plan = make_plan([tree, tree / "b.wav", tree / "sub" / ".." / "b.wav"], None, compress_rules())
    assert len(plan.tasks) == 4


def test_collisions_are_found_before_the_start(tmp_path):
    for name in ["a.wav.dacz", "a.dacz"]:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UsageError, match=r"would both become .*a\.wav"):
        make_plan([tmp_path], None, decompress_rules(lambda path: ".wav"))


def test_an_output_never_replaces_an_input(tmp_path):
    for name in ["x.dacz", "x.dacz.dacz"]:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UsageError, match="an input"):
        make_plan([tmp_path], None, decompress_rules(lambda path: ".dacz" if path.name == "x.dacz.dacz" else ".wav"))


@pytest.mark.parametrize(
    ("name", "suffix", "expected"),
    [
        ("song.flac.dacz", ".flac", "song.flac"),
        ("song.mp3.dacz", ".wav", "song.mp3.wav"),
        ("song.dacz", ".wav", "song.wav"),
        ("song.WAV.DACZ", ".wav", "song.WAV"),
        ("song.aif.dacz", ".aiff", "song.aif"),
        ("song.wav.dacz", ".flac", "song.wav.flac"),
        ("noise", ".wav", "noise.wav"),
    ],
)
def test_names_of_decompressed_files(name, suffix, expected):
    assert decompress_rules(lambda path: suffix).rename(Path(name)) == expected


def test_a_file_that_cannot_be_named_is_a_problem(tmp_path):
    def refuse(path: Path) -> str:
        raise UnsupportedAudio(f"{path}: no")

    (tmp_path / "a.dacz").write_bytes(b"")
    plan = make_plan([tmp_path / "a.dacz"], None, decompress_rules(refuse))
    assert [str(p.path) for p in plan.problems] == [str(tmp_path / "a.dacz")]


def test_lists_of_files():
    assert read_list("a.wav\n\nb c.flac\n") == [Path("a.wav"), Path("b c.flac")]
    assert read_list("new\nline.wav\0b.wav\0") == [Path("new\nline.wav"), Path("b.wav")]


def test_lines_of_a_list_end_at_line_feeds_only():
    names = [f"a{character}b.wav" for character in "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\r"]
    assert read_list("\n".join(names)) == [Path(name) for name in names]
    assert read_list("a.wav\r\nb.wav\r\n\r\n") == [Path("a.wav"), Path("b.wav")]
