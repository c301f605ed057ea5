"""`lumen resources ...` as a person or a script uses it."""

import csv
import hashlib
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fault_server import BLOCK, FaultServer
from model_sources import TEXT, edited_info
from tiny_models import TinyModel, a_bioclip, write_model

from lumen_cli.resources import command as resources
from lumen_cli.resources.work import describe
from lumen_resources.progress import FetchPhase, ProgressSnapshot


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path):
    with FaultServer(write_model(tmp_path / "web")) as server:
        yield server


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(resources, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def rows_of(*arguments: object) -> list[dict[str, object]]:
    return json.loads(run(*arguments, "-o", "json").stdout)


@pytest.fixture
def both(tmp_path):
    write_model(tmp_path / "source")
    write_model(tmp_path / "source", a_bioclip(ship_vectors=False))
    documents = [
        f"""apiVersion: lumen.dev/v1alpha1
kind: LumenModelService
metadata: {{name: {family}}}
spec:
  family: {family}
  model: {{name: tiny-{family}, runtime: onnx, source: {{uri: "file://./models/tiny-{family}"}}}}
  labelSets: [{{name: {labels}}}]
  pool: cpu
"""
        for family, labels in (("clip", "tiny-classes"), ("bioclip", "tiny-species"))
    ]
    file = tmp_path / "source" / "service.yaml"
    file.write_text("---\n".join(documents))
    return file


def test_a_model_is_downloaded_by_name_and_then_checked_without_the_source(source, cache):
    at = ("--uri", source.url, "--labels", "tiny-classes", "--cache-dir", cache)
    run("download", "tiny-clip", *at)
    source.close()

    for command in ("download", "check", "verify"):
        row = rows_of(command, "tiny-clip", *at)[0]
        assert (row["model"], row["status"]) == ("tiny-clip", "verified")
        assert Path(row["root"]) == cache / "models" / "tiny-clip"


def test_one_bad_model_does_not_hide_the_good_one(both, cache):
    (both.parent / "models" / "tiny-clip" / TEXT).write_bytes(b"x")

    result = run("download", "-f", both, "--cache-dir", cache, "-o", "csv", code=1)

    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["status"] for row in rows] == ["ChecksumMismatch", "verified"]
    assert rows[0]["file"] == TEXT
    assert "tiny-clip  ChecksumMismatch" in result.stderr


def test_what_was_fetched_for_one_runtime_is_checked_by_its_name_alone(source, cache):
    with edited_info(source.root) as info:
        info["runtimes"]["torch"] = {"available": True, "files": ["model.safetensors"]}
        header = {"logit_scale": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
        said = json.dumps(header).encode()
        content = len(said).to_bytes(8, "little") + said + bytes(4)
        (source.root / "model.safetensors").write_bytes(content)
        digest = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        info["extra_metadata"]["lumen"]["files"]["model.safetensors"] = digest
    at = ("--uri", source.url, "--runtime", "torch", "--cache-dir", cache)
    run("download", "tiny-clip", *at)

    for command in ("check", "verify"):
        (row,) = rows_of(command, "tiny-clip", "--cache-dir", cache)
        assert (row["runtime"], row["status"]) == ("torch", "verified")
    result = run("check", "tiny-clip", "--runtime", "onnx", "--cache-dir", cache, code=1)
    assert "no verified files for tiny-clip (onnx, fp32)" in result.stderr


def test_a_refused_fetch_leaves_no_row_and_a_model_is_listed_by_the_name_it_was_asked_for(
    source, cache
):
    run("download", "gone", "--uri", f"{source.url}/gone", "--cache-dir", cache, code=1)
    assert rows_of("list", "--cache-dir", cache) == []

    run("download", "me/tiny-clip", "--uri", source.url, "--cache-dir", cache)
    run("download", "tiny::clip", "--uri", source.url, "--cache-dir", cache)
    folder = write_model(source.root / "elsewhere").as_uri()
    run("download", "in-place", "--uri", folder, "--cache-dir", cache)

    rows = rows_of("list", "--cache-dir", cache)
    assert {row["name"] for row in rows} == {"me/tiny-clip", "tiny::clip", "in-place"}
    assert all(row["bytes"] > 0 for row in rows)


def test_no_refusal_speaks_of_a_manifest_to_who_came_by_options(source, cache, tmp_path):
    source.token = "wanted"
    wrong = (
        ("download", "tiny-clip", "--uri", source.url),
        ("download", "nobody-knows-it"),
        ("download", "tiny-clip", "--uri", f"file://{tmp_path}/nowhere"),
        ("download", "tiny-clip", "--uri", "file://~/x"),
        ("download", "tiny-clip", "--uri", "https://host/x?y"),
        ("check", "tiny-clip"),
    )
    for words in wrong:
        said = CliRunner().invoke(resources, [str(w) for w in (*words, "--cache-dir", cache)])
        assert said.exit_code != 0
        assert "spec." not in said.stderr, said.stderr


@pytest.mark.parametrize(
    ("label_set", "field"),
    [
        ({"source": {"uri": "file://./heads"}}, ""),
        ({"source": {"uri": "pvc://heads/tree"}}, ""),
        ({"includeFrom": {"uri": "hf://datasets/me/parks@v1/birds.csv"}}, ""),
        ({"includeFrom": {"uri": "https://lists.example.org/birds.csv"}}, ""),
        ({"source": {"uri": "file://~/heads"}}, "spec.labelSets[birds].source.uri"),
        ({"excludeFrom": {"uri": "pvc://heads/../x.txt"}}, "spec.labelSets[birds].excludeFrom.uri"),
        ({"excludeFrom": {"file": "../x.txt"}}, "spec.labelSets birds"),
    ],
)
def test_a_manifests_other_sources_are_validated_by_their_own_fields(tmp_path, label_set, field):
    document = cluster_service(labelSets=[{"name": "birds", **label_set}])
    (tmp_path / "service.json").write_text(json.dumps(document))

    result = run("validate", tmp_path / "service.json", code=1 if field else 0)

    assert field in result.stderr


def cluster_service(**spec):
    model = {"name": "tiny-clip", "runtime": "onnx", "source": {"uri": "https://h/tiny-clip"}}
    return {
        "apiVersion": "lumen.dev/v1alpha1",
        "kind": "LumenModelService",
        "metadata": {"name": "clip"},
        "spec": {"family": "clip", "model": model, "pool": "cpu", **spec},
    }


def test_force_fetches_what_the_source_has_now(source, cache):
    at = ("--uri", source.url, "--cache-dir", cache)
    run("download", "tiny-clip", *at)
    source.requests.clear()

    run("download", "tiny-clip", *at)
    assert source.requests == []
    run("download", "tiny-clip", *at, "--force")
    assert source.requests != []


def test_naming_nothing_or_both_is_a_usage_error(both):
    run("download", code=2)
    run("download", "tiny-clip", "-f", both, code=2)
    run("download", "../escape", code=2)
    run("download", "tiny-clip", "--runtime", "fortran", code=2)


def test_check_and_verify_of_what_is_not_there_say_how_to_get_it(cache):
    for command in ("check", "verify"):
        result = run(command, "tiny-clip", "--cache-dir", cache, code=1)
        assert "lumen resources download" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("tiny-clip", "--uri", "hf://owner"),
            '"hf://owner" cannot be used: write hf://owner/name',
        ),
        (("a b",), '"a b" cannot be used: write a model\'s name'),
    ],
    ids=["uri", "name"],
)
def test_a_malformed_word_is_answered_with_how_it_is_written(words, said):
    assert said in run("download", *words, code=2).stderr


def test_programs_hear_of_label_sets_and_sources_that_failed(both, cache):
    both.write_text(both.read_text().replace("file://./models/tiny-clip", "file://~/tiny-clip"))

    for words in (("labels", "-f", both, "--cache-dir", cache), ("validate", both)):
        (row, *_) = json.loads(run(*words, "-o", "json", code=1).stdout)
        assert (row["model"], row["reason"]) == ("tiny-clip", "InvalidSpec")
        assert "file:///absolute/folder" in row["remedy"]


def test_a_cache_that_cannot_be_made_is_told_from_a_missing_file(source, tmp_path):
    (tmp_path / "file").touch()
    at = ("--uri", source.url, "--cache-dir", tmp_path / "file" / "cache")

    (row,) = json.loads(run("download", "tiny-clip", *at, "-o", "json", code=1).stdout)

    assert row["reason"] == "PermissionDenied"
    assert "cannot be made" in row["message"]
    assert "Name a cache, or a folder" in row["remedy"]


def test_validate_tells_what_a_manifest_names_and_what_is_wrong_with_it(both, tmp_path):
    rows = rows_of("validate", both)
    assert [row["service"] for row in rows] == ["clip", "bioclip"]

    both.write_text(both.read_text().replace("runtime: onnx", "runtime: onxx"))
    assert "onxx" in run("validate", both, code=1).stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 5000, "nested deeper than 40 levels"),
        ("services: " + "{a: " * 3000, "nested deeper than 40 levels"),
        ("- " * 900, "nested deeper than 40 levels"),
        (f"replicas: {'9' * 5000}", "apiVersion"),
        ("since: 2024-13-45", "apiVersion"),
    ],
    ids=lambda text: text[:12],
)
def test_a_file_that_no_library_takes_is_answered_in_our_words(tmp_path, text, said):
    file = tmp_path / "service.yaml"
    file.write_text(text)

    assert said in run("check", "-f", file, code=1).stderr


def test_an_older_configuration_names_models_and_its_own_cache(tmp_path):
    write_model(tmp_path)
    config = tmp_path / "clip_only.yaml"
    config.write_text(
        f"""metadata: {{version: "1.0", region: other, cache_dir: {tmp_path}}}
services:
  clip:
    enabled: true
    models:
      default: {{model: tiny-clip, runtime: onnx, dataset: tiny-classes}}
"""
    )

    row = rows_of("check", "-f", config)[0]

    assert Path(row["root"]) == tmp_path / "models" / "tiny-clip"


def test_vectors_without_their_labels_name_the_file_that_is_missing(tmp_path):
    root = write_model(tmp_path / "cache")
    np.save(root / "tiny-species.npy", np.eye(5, 32, dtype=np.float32))
    run("verify", "--write", root)
    words = ("tiny-clip", "--uri", root.as_uri(), "--labels", "tiny-species")

    (row,) = json.loads(run("check", *words, "-o", "json", code=1).stdout)

    assert row["reason"] == "LabelSetInvalid"
    assert "tiny-species.json with the labels is missing" in row["message"]
    assert "Put tiny-species.json beside it" in row["remedy"]


def test_the_older_commands_work_as_they_were_typed(tmp_path):
    write_model(tmp_path / "cache")
    config = tmp_path / "clip_only.yaml"
    config.write_text(
        f"""metadata: {{cache_dir: {tmp_path / "cache"}}}
services: {{clip: {{models: {{default: {{model: tiny-clip, runtime: onnx}}}}}}}}
"""
    )

    assert rows_of("check", config)[0]["status"] == "verified"
    assert rows_of("download", config)[0]["status"] == "verified"
    refused = run("validate", config, code=1).stderr
    assert "in model, such as hf://owner/tiny-clip" in refused
    config.write_text(config.read_text().replace("tiny-clip", "hf://owner/tiny-clip"))
    assert rows_of("validate", config)[0]["source"] == "hf://owner/tiny-clip"
    run("list", tmp_path / "cache")
    words = ("tiny-clip", "--runtime", "onnx", "--region", "cn", "--dataset", "tiny-classes")
    assert rows_of("check", *words, "--cache-dir", tmp_path / "cache")[0]["model"] == "tiny-clip"
    refused = run("check", "absent.yaml", "--cache-dir", tmp_path / "cache", code=2).stderr
    assert "There is no file absent.yaml." in refused


def test_a_model_info_is_checked_alone_or_with_its_files(tmp_path):
    root = write_model(tmp_path)
    run("validate-model-info", root)
    with edited_info(root) as info:
        info["colour"] = "red"

    assert "colour" in run("validate-model-info", root / "model_info.json").stderr
    assert "colour" in run("validate-model-info", root, "--strict", code=1).stderr
    (root / TEXT).unlink()
    assert TEXT in run("validate-model-info", root, code=1).stderr
    run("validate-model-info", root, "--schema-only")


def test_digests_are_recorded_and_compared(tmp_path):
    root = write_model(tmp_path)
    (root / TEXT).write_bytes((root / TEXT).read_bytes() + b"x")
    assert "ChecksumMismatch" in run("verify", "--folder", root, code=1).stderr

    rows = rows_of("verify", "--write", root)

    assert TEXT in [row["file"] for row in rows]
    run("verify", "--folder", root)


def test_a_folder_of_the_oldest_layout_gets_a_model_info(tmp_path):
    root = write_model(tmp_path / "new")
    older = tmp_path / "models" / "older-clip"
    (older / "onnx").mkdir(parents=True)
    for new, old in (("vision.fp32", "image_encoder"), ("text.fp32", "text_encoder")):
        (older / "onnx" / f"{old}.onnx").write_bytes((root / f"onnx/{new}.onnx").read_bytes())

    run("verify", "--write", older)

    info = json.loads((older / "model_info.json").read_text())
    assert info["runtimes"]["onnx"]["available"] is True
    assert info["embedding_dim"] == 32
    run("validate-model-info", older, "--strict")


def test_the_list_shows_what_the_cache_holds(source, both, cache, tmp_path):
    assert "holds no model" in run("list", "--cache-dir", cache).stderr
    run("download", "tiny-clip", "--uri", source.url, "--cache-dir", cache)
    run("download", "-f", both, "--cache-dir", cache)

    rows = rows_of("list", "--cache-dir", cache)

    assert sorted((row["name"], row["source"]) for row in rows) == [
        ("tiny-bioclip", "file://./models/tiny-bioclip"),
        ("tiny-clip", "file://./models/tiny-clip"),
        ("tiny-clip", source.url),
    ]
    assert {row["status"] for row in rows} == {"verified"}


def test_labels_tell_where_vectors_are_and_prepare_computes_them(both, cache):
    run("download", "-f", both, "--cache-dir", cache)
    rows = rows_of("labels", "-f", both, "--cache-dir", cache)
    assert [(row["labels"], row["vectors"]) for row in rows] == [
        (6, "shipped"),
        (5, "to be computed"),
    ]

    rows = rows_of("labels", "-f", both, "--cache-dir", cache, "--prepare")

    assert [row["vectors"] for row in rows] == ["shipped", "computed"]
    (matrix,) = cache.rglob("vectors.npy")
    np.testing.assert_allclose(np.linalg.norm(np.load(matrix), axis=1), 1, atol=1e-3)


def test_ctrl_c_says_what_is_kept_and_the_next_run_goes_on(tmp_path):
    root = write_model(tmp_path / "source", TinyModel(dim=4096))
    with FaultServer(root) as server:
        server.hold_after[TEXT] = 5 * BLOCK
        command = [sys.executable, "-m", "lumen_cli", "resources", "download", "tiny-clip"]
        command += ["--uri", server.url, "--cache-dir", str(tmp_path / "cache")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert server.held.wait(30)
        part = "models/tiny-clip/.lumen/incoming/*/*.part"
        deadline = time.monotonic() + 30
        while not any(p.stat().st_size >= 4 * BLOCK for p in (tmp_path / "cache").glob(part)):
            assert time.monotonic() < deadline
            time.sleep(0.02)

        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
        server.release.set()

        assert process.returncode == 130
        assert b"are kept; the next run goes on from there." in told
        assert b"Traceback" not in told
        subprocess.run(command, check=True, capture_output=True)
        assert any(ranges for path, ranges in server.requests if path == TEXT)


def test_the_line_of_progress_says_how_much_how_fast_and_how_long():
    now = ProgressSnapshot(
        FetchPhase.FETCHING, 812_000_000, 1_700_000_000, 92e6, 9.7, "model.safetensors", 3, 6
    )

    assert describe("bioclip-2", now) == (
        "bioclip-2   fetching   3 of 6 files   812 MB / 1.7 GB   92.0 MB/s   9.7 s left   "
        "model.safetensors"
    )
