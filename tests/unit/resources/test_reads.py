"""Whatever is read of a file that others wrote has a bound: walked, so that none is forgotten."""

import ast
from pathlib import Path

SERVICES = Path(__file__).parents[3] / "services"
READS = {"read", "read_bytes", "read_text", "readlines", "readline", "readall"}
# Reads of the kernel's own files and of open files in blocks, by where they stand.
BOUNDED = {
    ("lumen_manifest/reading/regular_files.py", "_up_to"),
    ("lumen_resources/fetch/lease.py", "_process_identity"),
    ("lumen_resources/fetch/transfer.py", "_so_far"),
}
# What reads a source from a byte on, or a codec's block, is no file.
NOT_FILES = {"source", "_source", "_web", "zf"}


def reads_of(path: Path) -> set[tuple[str, str]]:
    found = set()
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            of = node.func.value
            name = of.attr if isinstance(of, ast.Attribute) else getattr(of, "id", "")
            unbounded = not node.args or node.func.attr in {"read_bytes", "read_text"}
            if node.func.attr in READS and unbounded and name not in NOT_FILES:
                found.add((path.relative_to(SERVICES).as_posix(), function.name))
    return found


def test_no_file_is_read_without_a_bound():
    modules = [
        path
        for package in ("lumen_resources", "lumen_manifest")
        for path in (SERVICES / package).rglob("*.py")
    ]
    found = set().union(*(reads_of(path) for path in modules))

    assert found - BOUNDED == set()
    assert ("lumen_resources/fetch/lease.py", "_process_identity") in found
