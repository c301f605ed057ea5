"""`python -m lumen_serving prepare` as a pod runs it: a process, its exit code, its last words."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import serving_servers
import tiny_models

from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.labels import prepared_labels
from lumen_resources.labels.label_sets import load_labels
from lumen_resources.progress import Progress

SETS = {"tiny-classes": tiny_models.CLASSES}


def a_pod(folder, *, label_sets=None, ship_vectors=False, **changes):
    """A verified model in a cache, and the configuration of its service."""
    sets = label_sets or SETS
    spec = tiny_models.TinyModel(label_sets=sets, ship_vectors=ship_vectors, **changes)
    root = tiny_models.write_model(folder / "source", spec)
    document = [{"name": name, "template": spec.template} for name in sets]
    config = serving_servers.a_config(root, labelSets=document)
    model = fetch_and_verify(config, folder / "cache", folder, Progress())
    (folder / "server.json").write_text(config.to_json())
    return model


def start(folder, **env) -> subprocess.Popen[bytes]:
    told = {
        "LUMEN_CONFIG": str(folder / "server.json"),
        "LUMEN_CACHE_DIR": str(folder / "cache"),
        "LUMEN_SOURCE_DIR": str(folder),
        "LUMEN_TERMINATION_LOG": str(folder / "termination.log"),
        "LUMEN_METRICS_PORT": "0",
        "LUMEN_BIND": "127.0.0.1",
        **env,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "lumen_serving", "prepare"],
        env={**os.environ, **told},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finished(process) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output.decode()


def done(folder, **env) -> str:
    """The output of a run that ended well."""
    code, output = finished(start(folder, **env))
    assert code == 0, output
    return output


def last_words(folder) -> dict:
    return json.loads((folder / "termination.log").read_text())


def test_missing_vectors_are_computed_with_the_template_and_only_once(tmp_path):
    model = a_pod(tmp_path)

    done(tmp_path)

    assert last_words(tmp_path)["reason"] == "Verified"
    path = prepared_labels.prepared(model, model.label_sets[0])
    prompts = [f"a photo of a {name}" for name in tiny_models.CLASSES]
    assert np.allclose(np.load(path), tiny_models.text_vectors(model.root, prompts), atol=1e-6)

    made_at = path.stat().st_mtime_ns
    output = done(tmp_path, PYTHONPROFILEIMPORTTIME="1")

    assert "onnxruntime" not in output
    assert path.stat().st_mtime_ns == made_at


def test_with_nothing_to_do_no_runtime_is_loaded(tmp_path):
    a_pod(tmp_path, ship_vectors=True)

    output = done(tmp_path, PYTHONPROFILEIMPORTTIME="1")

    assert "lumen_serving.prepare.command" in output
    assert "onnxruntime" not in output
    assert last_words(tmp_path)["reason"] == "Verified"


def test_a_run_goes_on_where_an_earlier_one_was_stopped(tmp_path):
    names = [f"thing number {n}" for n in range(300)]
    model = a_pod(tmp_path, label_sets={"things": names})
    files = model.label_sets[0]
    # Rows that no run would compute show that they were kept and not made again.
    kept = np.full((100, model.embedding_dim), 0.5, np.float32)
    with prepared_labels.begin(model, files) as preparation:
        preparation.append(kept)

    output = done(tmp_path)

    assert '"kept_rows": 100' in output or '"kept_rows":100' in output
    matrix = np.load(prepared_labels.prepared(model, files))
    assert matrix[:100].tobytes() == kept.tobytes()
    prompts = [f"a photo of a {name}" for name in names[100:]]
    assert np.allclose(matrix[100:], tiny_models.text_vectors(model.root, prompts), atol=1e-6)


def test_sigterm_ends_it_with_what_was_computed_kept(tmp_path):
    names = [f"thing number {n}" for n in range(400_000)]
    model = a_pod(tmp_path, label_sets={"things": names})
    process = start(tmp_path)
    for line in process.stdout:
        if b"computing label vectors" in line:
            break

    process.send_signal(signal.SIGTERM)
    code, output = finished(process)

    assert code == 143, output
    assert prepared_labels.prepared(model, model.label_sets[0]) is None
    assert last_words(tmp_path)["message"]


def test_vectors_are_not_computed_by_a_model_that_fails_parity(tmp_path):
    model = a_pod(tmp_path, parity=True)
    graph = tiny_models.text_graph(tiny_models.TinyModel(seed=99))
    (model.root / "onnx" / "text.fp32.onnx").write_bytes(graph.SerializeToString())
    spec = tiny_models.TinyModel()
    info = json.loads((model.root / "model_info.json").read_text())
    parity = info["extra_metadata"]["lumen"]["parity"]
    tiny_models.write_model_info(model.root, spec, info["datasets"], parity)
    config = serving_servers.a_config(
        model.root, labelSets=[{"name": "tiny-classes", "template": spec.template}]
    )
    fetch_and_verify(config, tmp_path / "cache", tmp_path, Progress())

    code, output = finished(start(tmp_path))

    assert code == 1, output
    assert last_words(tmp_path)["reason"] == "ParityFailed"


def test_a_large_set_gets_its_search_codes_where_the_cache_may_still_be_written(tmp_path):
    names = [f"thing number {n}" for n in range(4200)]
    model = a_pod(tmp_path, label_sets={"things": names}, ship_vectors=True)

    done(tmp_path)

    codes = np.load(next(model.cache.glob("codes/*/codes.npy")))
    assert codes.shape == (model.embedding_dim, len(load_labels(model.label_sets[0])))


@pytest.mark.parametrize("config", ["", "{}"])
def test_an_unusable_configuration_is_refused_in_words(tmp_path, config):
    (tmp_path / "server.json").write_text(config)

    code, _ = finished(start(tmp_path))

    assert code == 1
    assert "server.json" in last_words(tmp_path)["message"]
