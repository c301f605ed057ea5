"""Repositories of Hugging Face's hub: resolved, listed, compared, resumed, and told apart."""

import contextlib
import gzip
import hashlib
import json
import shutil
import signal

import huggingface_hub
import pytest
from fault_server import BLOCK
from hub_server import SIGNATURE, HubServer, files, git_blob, make_it_the_hub
from huggingface_hub import constants
from init_containers import InitContainer, until
from model_sources import TEXT, VISION, a_config, bent, edited_info
from tiny_models import TinyModel, write_model

from lumen_process.backoff import Backoff
from lumen_resources.errors import ResourceError
from lumen_resources.fetch.fetch import FetchOptions, fetch_and_verify, open_verified
from lumen_resources.model import lock_file
from lumen_resources.progress import Progress
from lumen_resources.sources.hugging_face import HuggingFaceSource
from lumen_resources.sources.open import open_source
from lumen_resources.sources.promises import DigestRule
from lumen_resources.sources.protocol import RetryPolicy, SourceAccess, SourceSnapshot

NAME = "models/me/tiny-clip"
URI = "hf://me/tiny-clip"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    folder = write_model(tmp_path / "source")
    with HubServer(tmp_path / "hub") as server:
        server.publish(NAME, folder)
        make_it_the_hub(server, tmp_path, monkeypatch)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


@pytest.fixture
def folder(hub):
    return next(iter(hub.repositories[NAME].commits.values()))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def access(token: str = "") -> SourceAccess:
    return SourceAccess(token=token, retries=RetryPolicy(attempts=3, backoff=Backoff(0.002, 15)))


def fetch(cache, uri=URI, *, token="", force=False, revision=None, **changes):
    config = a_config(uri, "tiny-classes", **changes)
    if revision:
        source = config.model.source.model_copy(update={"revision": revision})
        model = config.model.model_copy(update={"source": source})
        config = config.model_copy(update={"model": model})
    options = FetchOptions(access=access(token), force=force)
    return fetch_and_verify(config, cache, cache, Progress(), options)


def refused(cache, uri=URI, **options) -> ResourceError:
    with pytest.raises(ResourceError) as caught:
        fetch(cache, uri, **options)
    return caught.value


def a_snapshot() -> SourceSnapshot:
    with contextlib.closing(HuggingFaceSource(URI, access())) as source:
        return source.snapshot("")


def test_the_hubs_own_library_reads_the_same_from_the_double(hub, folder):
    api = huggingface_hub.HfApi(endpoint=hub.url, token=False)
    commit = api.model_info("me/tiny-clip", revision="main").sha
    theirs = {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id
        for entry in api.list_repo_tree("me/tiny-clip", recursive=True, revision=commit)
        if isinstance(entry, huggingface_hub.hf_api.RepoFile)
    }

    ours = a_snapshot()

    assert commit == ours.revision
    assert theirs == {path: promise.digest for path, promise in ours.promises.items()}
    assert {p.relative_to(folder).as_posix() for p in files(folder)} == set(theirs)
    rules = {path: promise.rule for path, promise in ours.promises.items()}
    assert (rules[TEXT], rules["tokenizer.json"]) == (DigestRule.SHA256, DigestRule.GIT_BLOB)


def test_a_repository_is_fetched_at_its_commit_and_opened_again_without_the_hub(hub, folder, cache):
    model = fetch(cache)

    assert model.revision == hub.repositories[NAME].names["main"]
    assert (folder / TEXT).read_bytes() == (model.root / TEXT).read_bytes()
    asked = hub.asked()
    hub.close()
    assert model == fetch(cache)
    assert model == open_verified(a_config(URI, "tiny-classes"), cache, cache)
    assert asked == hub.asked()


def test_only_what_the_runtime_needs_is_fetched(hub, folder, cache):
    (folder / "model.safetensors").write_bytes(b"weights of torch")
    (folder / "README.md").write_text("# Tiny")
    hub.publish(NAME, folder)

    model = fetch(cache)

    assert not (model.root / "model.safetensors").exists()
    assert not (model.root / "README.md").exists()
    assert not any("model.safetensors" in path for path in hub.requests)


def test_a_branch_is_resolved_once_and_a_later_start_stays_at_its_commit(
    hub, folder, cache, tmp_path
):
    first = hub.publish(NAME, folder, "v1.0")
    model = fetch(cache, revision="v1.0")
    newer = write_model(tmp_path / "newer", TinyModel(seed=8))
    hub.publish(NAME, newer, "v1.0")
    asked = hub.asked()

    assert model == fetch(cache, revision="v1.0")
    assert (first, asked) == (model.revision, hub.asked())
    assert lock_file.read(model.root).asked == "v1.0"
    assert fetch(cache, revision="v1.0", force=True).revision != first


def test_another_branch_than_the_cache_has_is_asked_for(hub, folder, cache, tmp_path):
    newer = write_model(tmp_path / "newer", TinyModel(seed=8))
    old = hub.repositories[NAME].names["main"]
    new = hub.publish(NAME, newer, "next")
    hub.repositories[NAME].names["main"] = old

    assert [old, new, old, new] == [
        fetch(cache, revision=revision).revision for revision in (None, "next", None, new)
    ]
    assert fetch(cache, f"{URI}@next").revision == new


def test_a_pinned_pod_gets_the_commit_of_the_first_also_from_an_empty_cache(hub, cache, tmp_path):
    first = fetch(cache)
    hub.publish(NAME, write_model(tmp_path / "newer", TinyModel(seed=8)))
    pins = {"pinnedRevision": first.revision, "pinnedDigest": first.digest}

    later = fetch(tmp_path / "another", **pins)
    named = fetch(tmp_path / "a branch of the address", f"{URI}@main", **pins)

    assert named.revision == first.revision
    assert (first.revision, first.digest) == (later.revision, later.digest)
    assert fetch(tmp_path / "a third").revision != first.revision


def test_a_pinned_commit_that_the_hub_no_longer_has_is_a_changed_source(hub, cache, tmp_path):
    first = fetch(cache)
    hub.publish(NAME, write_model(tmp_path / "newer", TinyModel(seed=8)))
    del hub.repositories[NAME].commits[first.revision]
    pins = {"pinnedRevision": first.revision, "pinnedDigest": first.digest}

    error = refused(tmp_path / "another", **pins)

    assert error.reason == "ChecksumMismatch"
    assert first.revision[:12] in error.message


@pytest.mark.parametrize("path", [TEXT, "tokenizer.json"])
@pytest.mark.parametrize("damage", ["corrupt", "truncated", "longer", "swapped"])
def test_a_file_that_is_not_the_listed_one_is_named_and_the_next_run_completes(
    hub, folder, cache, path, damage
):
    good = (folder / path).read_bytes()
    bad = {
        "corrupt": bent(good),
        "truncated": good[:-1],
        "longer": good + b"x",
        "swapped": (folder / VISION).read_bytes(),
    }[damage]
    commit = hub.repositories[NAME].names["main"]
    hub.content.contents[hub.large(NAME, path)] = bad
    hub.bodies[f"/me/tiny-clip/resolve/{commit}/tokenizer.json"] = (
        bad if path == "tokenizer.json" else (folder / "tokenizer.json").read_bytes()
    )

    error = refused(cache)

    assert (error.reason, error.file) == ("ChecksumMismatch", path)
    assert "the hub says" in error.message
    assert not (cache / "models" / "tiny-clip" / "lumen.lock.json").exists()
    hub.content.contents.clear()
    hub.bodies.clear()
    fetch(cache)


def test_a_large_file_that_was_cut_is_resumed_at_the_content_network(hub, folder, cache):
    hub.content.cut_after[hub.large(NAME, TEXT)] = (50_000, 2)

    fetch(cache)

    size = (folder / TEXT).stat().st_size
    assert hub.content.sent[hub.large(NAME, TEXT)] == size
    ranges = [asked for path, asked in hub.content.requests if path.endswith(TEXT)]
    assert ranges[0] == ""
    assert all(asked.startswith("bytes=") for asked in ranges[1:])
    assert len(ranges) == 3


def test_a_token_goes_to_the_hub_and_not_to_the_content_network(hub, cache):
    hub.accounts["s3cret"] = "reader"
    hub.repositories[NAME].private = True

    fetch(cache, token="s3cret")

    assert hub.tokens == {"Bearer s3cret"}
    assert hub.content.tokens == set()


def test_the_token_of_this_machine_is_used_when_no_secret_gives_one(hub, cache, monkeypatch):
    hub.accounts["of-the-machine"] = "reader"
    hub.repositories[NAME].private = True
    monkeypatch.setenv("HF_TOKEN", "of-the-machine")

    fetch(cache)

    assert hub.tokens == {"Bearer of-the-machine"}


def test_the_answers_of_a_hub_that_lets_nobody_in_are_told_apart(hub, folder, cache):
    hub.accounts["stranger"] = ""
    assert refused(cache, token="wrong").reason == "Unauthorized"
    assert "s3cret" not in str(refused(cache, token="s3cret"))
    assert refused(cache, "hf://me/no-such").reason == "RepositoryNotFound"
    error = refused(cache, revision="no-such-branch")
    assert error.reason == "RepositoryNotFound"
    assert "has no revision no-such-branch" in error.message

    hub.repositories[NAME].gated = True
    for token in ("", "stranger"):
        gated = refused(cache, token=token)
        assert gated.reason == "Unauthorized"
        assert f"Accept them at {hub.url}/me/tiny-clip" in gated.remedy
    hub.accounts["friend"] = "reader"
    fetch(cache, token="friend")


def test_a_file_that_is_listed_and_gone_is_missing_by_name(hub, folder, cache):
    entry = a_snapshot()
    (folder / "tokenizer.json").unlink()
    commit = entry.revision
    listed = [
        {"type": "file", "path": p, "size": q.size, "oid": "0" * 40, "lfs": None}
        | ({"lfs": {"oid": q.digest, "size": q.size}} if len(q.digest) == 64 else {"oid": q.digest})
        for p, q in entry.promises.items()
    ]
    hub.bodies[f"/api/{NAME}/tree/{commit}"] = json.dumps(listed).encode()

    error = refused(cache)

    assert (error.reason, error.file) == ("FileMissing", "tokenizer.json")


def test_a_moved_repository_is_followed(hub, cache):
    hub.repositories["models/me/older"] = type(hub.repositories[NAME])(moved_to="me/tiny-clip")

    assert fetch(cache, "hf://me/older").revision == hub.repositories[NAME].names["main"]


def test_a_hub_that_does_not_answer_is_unreachable_and_what_was_fetched_is_kept(hub, cache):
    hub.content.statuses[hub.large(NAME, TEXT)] = (503, -1)
    assert refused(cache).reason == "SourceUnreachable"
    kept = hub.content.sent[hub.large(NAME, VISION)]
    hub.content.statuses.clear()

    fetch(cache)

    assert hub.content.sent[hub.large(NAME, VISION)] <= kept + 4 * BLOCK
    hub.close()
    assert refused(cache, "hf://me/another").reason == "SourceUnreachable"


def test_a_hub_that_is_asked_too_often_is_asked_later(hub, cache):
    hub.headers = {"Retry-After": "0", "RateLimit": '"api";r=0;t=0'}
    hub.statuses["/api/"] = (429, 2)

    fetch(cache)

    assert hub.requests.count(f"/api/{NAME}/revision/main") == 3


def test_a_hub_that_wants_a_day_of_patience_is_waited_for_a_minute_at_most():
    assert RetryPolicy().wait_s(1, 86_400.0) == 60


def test_every_page_of_a_list_is_asked_where_the_first_came_from(hub, cache):
    hub.page = 1
    hub.next_host = "http://hub.example.org"

    fetch(cache)


def test_without_a_network_a_complete_cache_starts_and_an_empty_one_says_why(
    hub, cache, tmp_path, monkeypatch
):
    model = fetch(cache)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = hub.asked()

    assert model == fetch(cache)
    error = refused(tmp_path / "another")
    assert error.reason == "SourceUnreachable"
    assert "HF_HUB_OFFLINE" in error.message
    assert asked == hub.asked()


def test_without_a_network_what_the_hubs_own_library_fetched_is_verified_and_served(
    hub, folder, cache, tmp_path, monkeypatch
):
    commit = hub.publish(NAME, folder, "v1.0")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    hf_cache = tmp_path / "hf-cache"
    for revision in ("main", "v1.0"):
        huggingface_hub.snapshot_download(
            "me/tiny-clip",
            revision=revision,
            cache_dir=hf_cache,
            endpoint=hub.url,
            token=False,
            max_workers=1,
        )
    hub.close()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    model = fetch(cache)

    assert model.revision == commit
    assert (folder / TEXT).read_bytes() == (model.root / TEXT).read_bytes()
    for number, revision in enumerate(("v1.0", commit)):
        assert fetch(tmp_path / f"another{number}", revision=revision).digest == model.digest
    blob = next((hf_cache / "models--me--tiny-clip" / "snapshots").glob(f"*/{TEXT}")).resolve()
    blob.chmod(0o644)
    blob.write_bytes(bent(blob.read_bytes()))
    damaged = refused(tmp_path / "a third")
    assert (damaged.reason, damaged.file) == ("SourceUnreachable", "")
    assert TEXT in damaged.message


def test_what_the_hubs_own_library_fetched_is_not_fetched_again(hub, folder, cache, tmp_path):
    blobs = tmp_path / "hf-cache" / "models--me--tiny-clip" / "blobs"
    blobs.mkdir(parents=True)
    content = (folder / TEXT).read_bytes()
    shutil.copy(folder / TEXT, blobs / hashlib.sha256(content).hexdigest())
    other = (folder / VISION).read_bytes()
    (blobs / hashlib.sha256(other).hexdigest()).write_bytes(bent(other))
    shutil.copy(
        folder / "tokenizer.json", blobs / git_blob((folder / "tokenizer.json").read_bytes())
    )

    model = fetch(cache)

    assert hub.content.sent[hub.large(NAME, TEXT)] == 0
    assert hub.sent["tokenizer.json"] == 0
    assert hub.content.sent[hub.large(NAME, VISION)] == len(other)
    assert (model.root / VISION).read_bytes() == other


def test_signatures_of_the_content_network_are_not_shown(hub, cache):
    hub.content.statuses[hub.large(NAME, TEXT)] = (403, -1)

    error = refused(cache)

    assert error.reason == "Unauthorized"
    assert SIGNATURE not in str(error)


def test_a_model_info_that_speaks_of_other_files_than_the_repository_has_is_refused(
    hub, folder, cache
):
    with edited_info(folder) as info:
        info["extra_metadata"]["lumen"]["files"][TEXT]["sha256"] = "0" * 64
    hub.publish(NAME, folder)

    error = refused(cache)

    assert (error.reason, error.file) == ("ModelInfoInvalid", TEXT)


def a_list(hub, entries) -> None:
    commit = hub.repositories[NAME].names["main"]
    hub.bodies[f"/api/{NAME}/tree/{commit}"] = json.dumps(entries).encode()


def an_entry(path: str, **changes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": 1, "oid": "0" * 40, **changes}


@pytest.mark.parametrize(
    "path",
    ["../escape", "/etc/passwd", "a\\b", "onnx/../../x", "lumen.lock.json", ".lumen/x", "a\x1b[31m",
     "", "a//b", "prepared/x"],
)  # fmt: skip
def test_a_listed_name_that_no_folder_of_a_model_may_have_is_left_out(hub, path):
    a_list(hub, [an_entry(path), an_entry("config.json")])

    assert set(a_snapshot().promises) == {"config.json"}


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([an_entry(f"{number}.txt") for number in range(100_000)], "FilesInvalid"),
        ([an_entry("a"), an_entry("a", size=2)], "FilesInvalid"),
        ([an_entry("a", size=-1)], "SourceUnreachable"),
        ([an_entry("a", oid="no digest")], "SourceUnreachable"),
        ([an_entry("a", lfs={"oid": "0" * 40, "size": 1})], "SourceUnreachable"),
        ({"error": "no list"}, "SourceUnreachable"),
    ],
)
def test_a_list_that_is_none_or_lies_is_refused(hub, cache, entries, reason):
    a_list(hub, entries)

    assert refused(cache).reason == reason


def test_a_list_without_end_is_refused(hub, cache):
    commit = hub.repositories[NAME].names["main"]
    path = f"/api/{NAME}/tree/{commit}"
    hub.headers = {"Link": f'<{hub.url}{path}?cursor=1>; rel="next"'}
    a_list(hub, [an_entry("a")])

    assert refused(cache).reason == "FilesInvalid"
    assert hub.requests.count(path) <= 100


def test_an_answer_that_unpacks_without_end_is_refused_within_bounds(hub, cache):
    path = f"/api/{NAME}/revision/main"
    hub.bodies[path] = gzip.compress(b" " * (256 * 1024 * 1024))
    hub.headers = {"Content-Encoding": "gzip"}

    error = refused(cache)

    assert error.reason == "SourceUnreachable"
    assert "bytes" in error.message


def test_redirects_in_a_circle_are_refused(hub, cache):
    hub.repositories["models/me/circle"] = type(hub.repositories[NAME])(moved_to="me/circle")

    assert refused(cache, "hf://me/circle").reason == "SourceUnreachable"


def test_a_size_that_lies_costs_no_more_than_it_says(hub, folder, cache):
    promises = a_snapshot().promises
    listed = [
        an_entry(
            path,
            size=1000 if path == TEXT else p.size,
            **(
                {"lfs": {"oid": p.digest, "size": 1000 if path == TEXT else p.size}}
                if p.rule is DigestRule.SHA256
                else {"oid": p.digest}
            ),
        )
        for path, p in promises.items()
    ]
    a_list(hub, listed)

    error = refused(cache)

    assert error.reason in {"ChecksumMismatch", "ModelInfoInvalid"}
    assert hub.content.sent[hub.large(NAME, TEXT)] <= 16 * BLOCK


@pytest.mark.parametrize(
    "uri", ["hf://me/../x", "hf://datasets/me", "hf://me/x@y/../z", "modelscope://datasets/me"]
)
def test_an_address_that_names_no_repository_is_refused_before_anything_is_asked(hub, cache, uri):
    with pytest.raises(ResourceError) as caught:
        open_source(uri, access())

    assert caught.value.reason == "InvalidSpec"
    assert hub.asked() == 0


@pytest.fixture
def bare(hub, folder):
    """The same repository as others publish it: open_clip's configuration, and no model info."""
    (folder / "model_info.json").unlink()
    tower = {"image_size": 32, "layers": 1, "width": 8, "patch_size": 16}
    texts = {"context_length": 24, "vocab_size": 600, "width": 8, "heads": 1, "layers": 1}
    config = {
        "model_cfg": {"embed_dim": 32, "vision_cfg": tower, "text_cfg": texts},
        "preprocess_cfg": {"size": 32, "interpolation": "bicubic", "resize_mode": "shortest"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    hub.publish(NAME, folder)
    return folder


def test_a_repository_without_a_model_info_says_what_was_derived_and_derives_it_once(
    hub, bare, cache, tmp_path
):
    model = fetch(cache)

    assert any("has no model_info.json" in warning for warning in model.warnings)
    assert (model.info.metadata.license, model.info.source.repo_id) == ("mit", "me/tiny-clip")
    assert lock_file.read(model.root).derived
    assert not list((model.root / ".lumen" / "incoming").rglob("*"))
    asked = hub.asked()
    hub.close()
    assert model == open_verified(a_config(URI, "tiny-classes"), cache, cache)
    assert model == fetch(cache)
    assert asked == hub.asked()


def test_how_a_derived_info_is_worded_does_not_change_what_later_pods_verify(
    hub, bare, cache, tmp_path
):
    first = fetch(cache)
    info = json.loads((first.root / "model_info.json").read_text())
    info["description"] = "Worded by another version"
    (first.root / "model_info.json").write_text(json.dumps(info))
    lock = lock_file.read(first.root)
    worded = lock_file.bytes_digest((first.root / "model_info.json").read_bytes())
    files = {**lock.files, "model_info.json": lock_file.LockedFile(**worded.model_dump())}
    lock_file.write(first.root, lock.model_copy(update={"files": files}))

    pins = {"pinnedRevision": first.revision, "pinnedDigest": first.digest}

    assert fetch(cache, **pins).info.description == "Worded by another version"


def test_a_configuration_that_the_hub_does_not_vouch_for_is_not_derived_from(hub, bare, cache):
    commit = hub.repositories[NAME].names["main"]
    path = "open_clip_config.json"
    hub.bodies[f"/me/tiny-clip/resolve/{commit}/{path}"] = bent((bare / path).read_bytes())

    error = refused(cache)

    assert (error.reason, error.file) == ("ChecksumMismatch", path)


def test_a_repository_of_something_else_is_no_model(hub, cache, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "README.md").write_text("# A data set\n")
    hub.publish("models/me/other", other)

    assert refused(cache, "hf://me/other").reason == "ModelInfoInvalid"


def test_a_repository_may_be_the_models_name_and_an_unknown_name_wants_a_source(hub, cache):
    named = {"name": "me/tiny-clip", "runtime": "onnx"}

    model = fetch(cache, None, model=named)

    assert model.root == cache / "models" / "me__tiny-clip"
    assert lock_file.read(model.root).source == "hf://me/tiny-clip"
    error = refused(cache, None)
    assert error.reason == "InvalidSpec"
    assert "tiny-clip stands for no repository" in error.message


def test_a_killed_download_goes_on_where_it_was_at_the_content_network(hub, folder, tmp_path):
    large = hub.large(NAME, TEXT)
    size, held = (folder / TEXT).stat().st_size, 5 * BLOCK
    hub.content.hold_after[large] = held
    container = InitContainer(tmp_path, URI)
    container.variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf-home")}
    process = container.start()
    assert hub.content.held.wait(60)
    until(lambda: [part.stat().st_size for part in container.parts()] == [held], 60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    hub.content.release.set()
    served = hub.content.sent[large]
    others = hub.content.sent.total() - served + hub.sent.total()

    code, line = container.run()

    assert (code, line["revision"]) == (0, hub.repositories[NAME].names["main"])
    assert size - held <= hub.content.sent[large] - served <= size - held + 2 * BLOCK
    assert hub.content.sent.total() - hub.content.sent[large] + hub.sent.total() == others
    hub.close()
    container.variables["HF_HUB_OFFLINE"] = "1"
    assert container.run() == (0, line)
