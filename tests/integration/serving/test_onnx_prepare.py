"""`python -m lumen_serving prepare` as a pod runs it: a process, its exit code, its last words."""

import json
import shutil
import time

import numpy as np
import pytest
import serving_servers
import tiny_models

from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.labels import prepared_labels
from lumen_resources.labels.label_sets import load_labels
from lumen_resources.labels.templates import framed, frames
from lumen_resources.progress import Progress

SETS = {"tiny-classes": tiny_models.CLASSES}


def a_pod(folder, *, label_sets=SETS, spoil=None, family="clip", **changes):
    """A verified model in a cache, and the configuration of its service."""
    spec = tiny_models.TinyModel(label_sets=label_sets, **{"ship_vectors": False, **changes})
    root = tiny_models.write_model(folder / "source", spec)
    if spoil is not None:
        spoil(root)
    config = serving_servers.a_config(
        root, family=family, labelSets=[{"name": name} for name in label_sets]
    )
    return config, fetch_and_verify(config, folder / "cache", folder, Progress())


def started(folder, config, **env):
    program = ("-m", "lumen_serving", "prepare")
    return serving_servers.a_server(config, folder, env, verify=False, program=program)


def done(folder, config, **env) -> str:
    """The output of a run that ended well."""
    with started(folder, config, **env) as running:
        code = running.process.wait(60)
    assert code == 0, running.log()
    return running.log()


def last_words(folder) -> dict:
    return json.loads((folder / "termination.log").read_text())


def test_missing_vectors_are_computed_with_the_template_and_only_once(tmp_path):
    config, model = a_pod(tmp_path)

    done(tmp_path, config)

    assert last_words(tmp_path)["reason"] == "Verified"
    path = prepared_labels.prepared(model, model.label_sets[0])
    prompts = [f"a photo of a {name}" for name in tiny_models.CLASSES]
    assert np.allclose(np.load(path), tiny_models.text_vectors(model.root, prompts), atol=1e-6)

    made_at = path.stat().st_mtime_ns
    output = done(tmp_path, config, PYTHONPROFILEIMPORTTIME="1")

    assert "onnxruntime" not in output
    assert path.stat().st_mtime_ns == made_at


def test_species_without_vectors_get_those_of_their_taxonomic_text_in_80_sentences(tmp_path):
    robin = [["Animalia", "Chordata", "Aves", "", "", "Erithacus", "rubecula"], "European Robin"]
    config, model = a_pod(
        tmp_path, family="bioclip", model_type="bioclip", label_sets={"birds": [robin]}
    )

    done(tmp_path, config)

    text = "Animalia Chordata Aves Erithacus rubecula with common name European Robin"
    rows = tiny_models.text_vectors(model.root, framed([text], frames("openai-80")))
    mean = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
    found = np.load(prepared_labels.prepared(model, model.label_sets[0]))
    assert np.allclose(found, mean, atol=1e-6)


def test_with_nothing_to_do_no_runtime_is_loaded(tmp_path):
    config, _ = a_pod(tmp_path, ship_vectors=True)

    output = done(tmp_path, config, PYTHONPROFILEIMPORTTIME="1")

    assert "lumen_serving.prepare.command" in output
    assert "onnxruntime" not in output
    assert last_words(tmp_path)["reason"] == "Verified"


def test_a_run_goes_on_where_an_earlier_one_was_stopped(tmp_path):
    names = [f"thing number {n}" for n in range(300)]
    config, model = a_pod(tmp_path, label_sets={"things": names})
    files = model.label_sets[0]
    # Rows that no run would compute show that they were kept and not made again.
    kept = np.full((100, model.embedding_dim), 0.5, np.float32)
    with prepared_labels.begin(model, files) as preparation:
        preparation.append(kept)

    output = done(tmp_path, config)

    assert '"kept_rows": 100' in output or '"kept_rows":100' in output
    matrix = np.load(prepared_labels.prepared(model, files))
    assert matrix[:100].tobytes() == kept.tobytes()
    prompts = [f"a photo of a {name}" for name in names[100:]]
    assert np.allclose(matrix[100:], tiny_models.text_vectors(model.root, prompts), atol=1e-6)


def test_sigterm_ends_it_with_what_was_computed_kept(tmp_path):
    names = [f"thing number {n}" for n in range(400_000)]
    config, model = a_pod(tmp_path, label_sets={"things": names})
    with started(tmp_path, config) as running:
        while "computing label vectors" not in running.log():
            assert running.process.poll() is None, running.log()
            time.sleep(0.01)
        code = running.stop()

    assert code == 143, running.log()
    assert prepared_labels.prepared(model, model.label_sets[0]) is None
    assert last_words(tmp_path)["message"]


def test_vectors_are_not_computed_by_a_model_that_fails_parity(tmp_path):
    config, _ = a_pod(tmp_path, spoil=tiny_models.spoil_parity)

    with started(tmp_path, config) as running:
        code = running.process.wait(60)

    assert code == 1, running.log()
    assert last_words(tmp_path)["reason"] == "ParityFailed"


def test_a_large_set_gets_its_search_codes_where_the_cache_may_still_be_written(tmp_path):
    names = [f"thing number {n}" for n in range(4200)]
    config, model = a_pod(tmp_path, label_sets={"things": names}, ship_vectors=True)

    done(tmp_path, config)

    codes = np.load(next(model.cache.glob("codes/*/codes.npy")))
    assert codes.shape == (len(load_labels(model.label_sets[0])), model.embedding_dim)


def test_search_codes_of_another_matrix_are_made_anew(tmp_path):
    names = [f"thing number {n}" for n in range(4200)]
    config, model = a_pod(tmp_path, label_sets={"things": names}, ship_vectors=True)
    done(tmp_path, config)
    made = next(model.cache.glob("codes/*/meta.json"))
    before = made.read_text()

    shutil.rmtree(model.root)
    config, _ = a_pod(
        tmp_path, label_sets={"things": names}, ship_vectors=True, template="a drawing of a {}"
    )
    done(tmp_path, config)

    assert made.read_text() != before


@pytest.mark.parametrize("text", ["", "{}"])
def test_an_unusable_configuration_is_refused_in_words(tmp_path, text):
    config, _ = a_pod(tmp_path)
    (tmp_path / "unusable.json").write_text(text)

    with started(tmp_path, config, LUMEN_CONFIG=str(tmp_path / "unusable.json")) as running:
        code = running.process.wait(60)

    assert code == 1
    assert "unusable.json" in last_words(tmp_path)["message"]
