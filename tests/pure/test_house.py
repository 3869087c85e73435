"""The house rules that no other tool keeps: who may touch files, and how long a module and a function may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
MODULES = sorted(str(path.relative_to(SRC)) for path in SRC.rglob("*.py"))

STORAGE = "common/lake/"
"""The room behind which the files of the lake and of the landing zone lie."""
OTHER_FILES = {
    "batch/gold_refresh.py": "its own code, for the fingerprint",
    "runs/lineage.py": "an empty folder, in which nothing is made",
    "cli/corrected_files.py": "the file of --file",
    "cli/dictionary.py": "the file of --out",
    "cli/launch.py": "where spark-submit is",
    "cli/main.py": "/dev/null, where nobody reads any more",
    "cli/output.py": "the file of --output",
    "cli/quality.py": "the address of a page, for the browser",
    "cli/quarantine.py": "the file of --file",
    "cli/report.py": "the file of --out",
    "cli/arguments.py": "where Java is",
    "common/cluster.py": "spark-defaults.conf, ours and a cluster's, and Spark's jars",
    "common/config.py": "the folders that people name, and conf/",
    "common/contracts/loading.py": "conf/",
    "common/java.py": "where Java is, and its temporary files",
    "common/project.py": "conf/ as the code carries it, and the code packed for executors",
    "common/quality/docs.py": "its own templates",
    "cli/export.py": "the folder of --out",
    "serving/focus/": "the folder of --out",
    "upkeep/lineage.py": "conf/lineage.json",
    "serving/dashboard/rendering.py": "its own templates",
    "serving/queries/declaration.py": "conf/queries.yaml",
}
"""Modules that touch files which are neither the lake's nor the landing zone's, and which ones."""

BELOW_THE_STORAGE = {
    "cli/compiler.py": "how much is new in the landing zone, looked at before conf/ is read and Java started",
    "common/erasure.py": "the key of the hashes, which only its owner may read",
    "upkeep/machine.py": "the rights of folders, and the disk",
    "upkeep/erase.py": "every file of the lake, whatever wrote it, is looked through for the person's addresses",
    "upkeep/leftovers.py": "what writers left behind",
    "upkeep/maintain.py": "what writers left behind",
    "upkeep/traces.py": "every file of the lake, whatever wrote it, is looked through for the person's addresses",
}
"""Modules, most of them of upkeep, that touch the lake's files as files. For a lake on another kind of storage they have to go through it."""

FILE_MODULES = {"pathlib", "shutil", "tempfile", "glob", "fcntl", "pyarrow.fs", "fsspec"}
OS_ON_FILES = {
    "access", "chmod", "link", "listdir", "lstat", "makedirs", "mkdir", "open", "path", "readlink", "remove", "removedirs",
    "rename", "renames", "replace", "rmdir", "scandir", "stat", "symlink", "truncate", "unlink", "utime", "walk",
}  # fmt: skip
METHODS_ON_FILES = {
    "read_text", "read_bytes", "write_text", "write_bytes", "iterdir", "rglob", "is_dir", "unlink", "rmdir",
    "symlink_to", "touch", "mkdir", "read_parquet", "read_csv", "read_json",
}  # fmt: skip
READERS_IN_SQL = (
    "read_parquet(",
    "parquet_scan(",
    "read_csv(",
    "read_json(",
    "read_text(",
    "read_blob(",
    "delta_scan(",
)


def files_touched(code: str) -> Iterator[str]:
    """Name the places in a module that get at files past the storage."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Import(names=names):
                yield from (f"{node.lineno}: import {one.name}" for one in names if one.name in FILE_MODULES)
            case ast.ImportFrom(module=str(module), level=0) if module in FILE_MODULES:
                yield f"{node.lineno}: from {module} import"
            case ast.Call(func=ast.Name(id="open")):
                yield f"{node.lineno}: open("
            case ast.Attribute(value=ast.Name(id="os" | "io"), attr=attr) if attr in OS_ON_FILES:
                yield f"{node.lineno}: {ast.unparse(node)}"
            case ast.Call(func=ast.Attribute(attr=attr)) if attr in METHODS_ON_FILES:
                yield f"{node.lineno}: .{attr}("


def paths_made(code: str) -> Iterator[str]:
    """Name the places in a module that make a path out of the root of the lake or of the landing zone, or read by one."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.BinOp(op=ast.Div(), left=ast.Attribute(attr="root" | "landing")):
                yield f"{node.lineno}: {ast.unparse(node)}"
            case ast.Constant(value=str(text)) if any(reader in text for reader in READERS_IN_SQL):
                yield f"{node.lineno}: {text.strip()[:40]}"


def outside_the_storage() -> list[str]:
    return [name for name in MODULES if not name.startswith(STORAGE)]


def kept_to_the_rule() -> list[str]:
    return [name for name in outside_the_storage() if name not in BELOW_THE_STORAGE]


def test_nothing_outside_the_storage_touches_a_file_but_what_is_named_here() -> None:
    modules = [name for name in outside_the_storage() if not name.startswith(tuple({**OTHER_FILES, **BELOW_THE_STORAGE}))]
    found = [f"src/{name}:{place}" for name in modules for place in files_touched((SRC / name).read_text())]
    assert not found, "the lake's and the landing zone's files are reached by lake.storage and config.landing_zone"


def test_nothing_outside_the_storage_makes_a_path_of_the_lake_or_of_the_landing_zone() -> None:
    places = [(name, place) for name in kept_to_the_rule() for place in paths_made((SRC / name).read_text())]
    found = [
        f"src/{name}:{place}"
        for name, place in places
        if not (name.startswith(tuple(OTHER_FILES)) and "read_" in place)
    ]
    assert not found, "lake.storage, config.landing_zone and common.lake.duck do that"


def test_every_module_that_may_touch_other_files_is_there_and_does() -> None:
    texts = {
        name: [(SRC / module).read_text() for module in MODULES if module.startswith(name)] for name in OTHER_FILES
    }
    idle = [name for name, codes in texts.items() if not any(any(files_touched(code)) for code in codes)]
    assert not idle, "strike them from OTHER_FILES"


@pytest.mark.parametrize(
    "line",
    [
        "import pathlib", "from pathlib import Path", "import shutil as s", "open(path)", "os.path.exists(x)", "os.stat(x)", "io.open(x)",
        "with open(x) as f: pass", "config.conf.read_text()", "pandas.read_parquet(x)", "os.listdir(lake.root)",
    ],
)  # fmt: skip
def test_the_rule_sees_a_file_that_is_touched(line: str) -> None:
    assert list(files_touched(line))


@pytest.mark.parametrize(
    "line", ["config.lake.root / 'ops'", "config.landing / name", "sql(f\"FROM read_parquet('{x}')\")"]
)
def test_the_rule_sees_a_path_that_is_made(line: str) -> None:
    assert list(paths_made(line))


@pytest.mark.parametrize(
    "line", ["os.environ['A']", "text.replace('a', 'b')", "lake.exists(t)", "f'{config.lake.root}'"]
)
def test_the_rule_passes_what_touches_no_file(line: str) -> None:
    assert not list(files_touched(line)) and not list(paths_made(line))


MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60


def test_no_module_is_longer_than_a_head_can_hold() -> None:
    lengths = {name: len((SRC / name).read_text().splitlines()) for name in MODULES}
    assert not {name: length for name, length in lengths.items() if length > MOST_LINES}


def test_no_function_is_longer_than_a_screen() -> None:
    found = {}
    for name in MODULES:
        for node in ast.walk(ast.parse((SRC / name).read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[f"{name}: {node.name}"] = (node.end_lineno or node.lineno) - node.lineno + 1
    assert len(found) > 1000
    assert not {place: length for place, length in found.items() if length > MOST_LINES_OF_A_FUNCTION}


def test_every_room_says_in_its_first_line_what_it_is() -> None:
    rooms = [name for name in MODULES if name.endswith("__init__.py") and name != "__init__.py"]
    said = {name: (ast.get_docstring(ast.parse((SRC / name).read_text())) or "").partition("\n")[0] for name in rooms}
    assert len(rooms) > 15 and not {name for name, line in said.items() if not line.endswith(".")}


def test_no_two_test_files_have_one_name() -> None:
    """Pytest imports them by their names alone: of two, it runs one, and only where both are asked for at once it says so."""
    names = [path.name for path in Path(__file__).parents[1].rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
