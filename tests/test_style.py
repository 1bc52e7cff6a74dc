"""Rules that keep the code readable and the imports one way; each is a short look at the syntax trees."""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "dacfile").rglob("*.py"), *(ROOT / "cli").rglob("*.py")])
TREES = {path: ast.parse(path.read_text()) for path in FILES}
MAX_FILE, MAX_FUNCTION, MEDIAN_FUNCTION, P90_FUNCTION = 400, 60, 10, 30
FORBIDDEN_IN_LIBRARY = {"typer", "rich", "click", "dacz"}
STANDARD_LIBRARY_ONLY = ("dacfile/container", "dacfile/errors.py", "dacfile/limits.py", "dacfile/safetensors_file.py")


def name_of(path: Path) -> str:
    """Return the dotted module name."""
    relative = path.relative_to(ROOT / "cli" if ROOT / "cli" in path.parents else ROOT).with_suffix("")
    parts = relative.parts[:-1] if relative.name == "__init__" else relative.parts
    return ".".join(parts)


MODULES = {name_of(path): path for path in FILES}


def imported(path: Path, top_level_only: bool = False) -> set[str]:
    """Return the absolute names that a module imports; `if TYPE_CHECKING` and functions are not top level."""
    package = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    found: set[str] = set()
    nodes = TREES[path].body if top_level_only else list(ast.walk(TREES[path]))
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = {f"{module}.{alias.name}" for alias in node.names}
            found.update(names & MODULES.keys())
            if names - MODULES.keys():
                found.add(module)
    return found


def functions() -> list[tuple[str, int]]:
    """Return (where, lines) of every function."""
    return [
        (f"{path.relative_to(ROOT)}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for path in FILES
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def in_library(path: Path) -> bool:
    return ROOT / "dacfile" in path.parents


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE


def test_functions_are_short() -> None:
    lengths = [lines for _, lines in functions()]
    assert [where for where, lines in functions() if lines > MAX_FUNCTION] == []
    assert statistics.median(lengths) <= MEDIAN_FUNCTION
    assert sorted(lengths)[int(0.9 * len(lengths))] <= P90_FUNCTION


@pytest.mark.parametrize("path", [path for path in FILES if in_library(path)], ids=lambda p: str(p.relative_to(ROOT)))
def test_the_library_neither_prints_nor_exits(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & FORBIDDEN_IN_LIBRARY
    if path.name == "__main__.py":
        return
    body = [node for node in TREES[path].body if "__name__" not in ast.unparse(node)[:40]]  # not the scripts' part
    for node in (inner for outer in body for inner in ast.walk(outer)):
        called = node.func if isinstance(node, ast.Call) else None
        assert not (isinstance(called, ast.Name) and called.id in ("print", "exit", "quit")), ast.unparse(node)
        assert not (isinstance(node, ast.Attribute) and node.attr == "argv"), ast.unparse(node)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_asserts(path: Path) -> None:
    """Asserts vanish under `python -O`: input is checked with exceptions."""
    assert [node.lineno for node in ast.walk(TREES[path]) if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize("place", STANDARD_LIBRARY_ONLY)
def test_the_container_needs_only_the_standard_library(place: str) -> None:
    paths = [path for path in FILES if path.is_relative_to(ROOT / place)]
    assert paths
    own = ("dacfile.container", "dacfile.errors", "dacfile.limits")
    for path in paths:
        for name in imported(path):
            assert name.split(".")[0] in sys.stdlib_module_names or name.startswith(own), f"{path}: {name}"


def test_entropy_never_imports_torch() -> None:
    for name, path in MODULES.items():
        if name.startswith("dacfile.entropy"):
            assert not {module.split(".")[0] for module in imported(path)} & {"torch"}, name


def package_of(name: str) -> str:
    """Return the package of a module; a module of `dacfile` itself stands for itself."""
    parts = name.split(".")
    return "dacz" if parts[0] == "dacz" else ".".join(parts[:2])


@pytest.mark.parametrize(("unit", "top_level_only"), [(str, True), (package_of, False)], ids=["modules", "packages"])
def test_imports_point_one_way(unit: Callable[[str], str], top_level_only: bool) -> None:
    """No module leads back to itself through imports at the top level, no package through any import at all."""
    edges: dict[str, set[str]] = {unit(name): set() for name in MODULES}
    for name, path in MODULES.items():
        edges[unit(name)] |= {unit(m) for m in imported(path, top_level_only) & MODULES.keys()} - {unit(name)}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in sorted(edges[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())
