"""`python -m lumen_wire.generate`: write lumen_wire/pb from proto/, with type stubs.

Run by `make generate` after a change of the .proto; needs grpcio-tools and mypy-protobuf (the
`dev` extra). The result is committed, and a test compares it with a fresh run.
"""

import argparse
import importlib.resources
import os
import re
import sys
from pathlib import Path

PROTO = Path("home_native/v1/ml_service.proto")
_PACKAGE = Path(__file__).resolve().parent
_PROTO_ROOT = _PACKAGE.parents[1] / "proto"

# protoc imports siblings by their path below the proto root; ours live below lumen_wire.pb.
_IMPORT = re.compile(r"^from home_native\.v1 import ", re.MULTILINE)
_STUB_IMPORT = re.compile(r"^import home_native\.v1\.(\w+)", re.MULTILINE)


def generate(target: Path) -> list[Path]:
    """Write the generated modules and stubs below `target`; return their paths.

    Raises RuntimeError when protoc fails; protoc itself has said why on stderr by then.
    """
    from grpc_tools import protoc  # noqa: PLC0415  (a development dependency)

    target.mkdir(parents=True, exist_ok=True)
    # protoc finds its mypy plugins on PATH; they lie beside this interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    arguments = [
        "protoc",
        f"--proto_path={_PROTO_ROOT}",
        f"--proto_path={importlib.resources.files('grpc_tools') / '_proto'}",
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out={target}",
        f"--mypy_grpc_out={target}",
        str(PROTO),
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError(f"protoc could not compile {PROTO}")
    folder = target / PROTO.parent
    written = sorted(p for p in folder.iterdir() if p.name.startswith(PROTO.stem))
    for path in written:
        path.write_text(_with_our_imports(path.read_text(encoding="utf-8")), encoding="utf-8")
    return written


def _with_our_imports(text: str) -> str:
    text = _IMPORT.sub("from lumen_wire.pb.home_native.v1 import ", text)
    text = _STUB_IMPORT.sub(r"from lumen_wire.pb.home_native.v1 import \1", text)
    return re.sub(r"\bhome_native\.v1\.(ml_service_pb2\w*)\b", r"\1", text)


def main() -> None:
    """Write into the package, or into the folder given."""
    parser = argparse.ArgumentParser(prog="python -m lumen_wire.generate")
    parser.add_argument("target", nargs="?", type=Path, default=_PACKAGE / "pb")
    for path in generate(parser.parse_args().target):
        sys.stderr.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
