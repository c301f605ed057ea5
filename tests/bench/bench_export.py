"""What `lumen export` takes of one of open_clip's architectures at its full size.

    .venv-models/bin/python tests/bench/bench_export.py MobileCLIP2-S2::dfndr2b

Weights are random and seeded: times, memory and sizes are those of the real checkpoint, cosines
are not. The repository is written by a process of its own, so that the peak of memory is the
export's alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
SEED = 11
# An open_clip model that takes a tokenizer of the hub's gets a small one of that kind.
TOKENIZERS = {"SigLIP2": "gemma", "SigLIP": "t5"}


def write_source(name: str, folder: Path) -> None:
    """Write the repository as open_clip publishes it, with random weights."""
    sys.path[:0] = [str(TESTS / "models")]
    import open_clip  # noqa: PLC0415 - only the process that writes needs it
    import safetensors.torch  # noqa: PLC0415
    import torch  # noqa: PLC0415

    architecture, _, tag = name.partition("::")
    torch.manual_seed(SEED)
    model = open_clip.create_model(architecture, pretrained=None)
    safetensors.torch.save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    cfg = open_clip.get_model_config(architecture)
    known = open_clip.get_pretrained_cfg(architecture, tag)
    picture = {k: known[k] for k in ("mean", "std", "interpolation", "resize_mode") if k in known}
    document = {"model_cfg": cfg, "preprocess_cfg": picture}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    kind = next((kind for part, kind in TOKENIZERS.items() if part in architecture), None)
    if kind is not None:
        from trained_tokenizers import write_tokenizer  # noqa: PLC0415

        write_tokenizer(folder, kind)


def lumen(*words: object, env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "lumen_cli", *map(str, words)]
    subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE)


def measured_export(source: Path, work: Path, precisions: str, env: dict[str, str]) -> None:
    """Run the command and print its proofs, its time, its peak of memory and its files' sizes."""
    words = ["export", source, "--out", work / "out", "--precision", precisions]
    words += ["--cache-dir", work / "cache", "--output", "json"]
    begun = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "lumen_cli", *map(str, words)], env=env, stdout=subprocess.PIPE
    ) as export:
        assert export.stdout is not None
        said = export.stdout.read()
        # What `wait` would throw away: the peak of this one process.
        _, status, used = os.wait4(export.pid, 0)
        export.returncode = os.waitstatus_to_exitcode(status)
    if export.returncode:
        sys.exit(export.returncode)
    for proof in json.loads(said):
        shown = (proof[key] or "-" for key in ("product", "engine", "pictures", "texts", "note"))
        print("   ".join(shown))
    sizes = {p.name: p.stat().st_size for p in (work / "out" / "onnx").iterdir()}
    print(
        f"CPU {used.ru_utime + used.ru_stime:.0f} s, wall {time.monotonic() - begun:.0f} s, "
        f"peak {used.ru_maxrss / 2**20:.1f} GiB, files {sum(sizes.values()) / 1e9:.2f} GB"
    )
    for name, size in sorted(sizes.items()):
        print(f"  {name}   {size / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="ARCH::TAG; the tag says how pictures are prepared")
    parser.add_argument("--precisions", default="fp32,bf16,int8")
    parser.add_argument("--folder", type=Path, help="where the disk has room for it")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_source(options.model, options.write)
        return
    env = dict(os.environ, HF_HUB_OFFLINE="1")
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        work = Path(place)
        source = work / "source"
        source.mkdir()
        subprocess.run([sys.executable, __file__, options.model, "--write", source], check=True)
        lumen("resources", "verify", "--write", source, env=env)
        size = sum(p.stat().st_size for p in source.iterdir())
        print(f"{options.model}, source {size / 1e9:.2f} GB", flush=True)
        measured_export(source, work, options.precisions, env)


if __name__ == "__main__":
    main()
