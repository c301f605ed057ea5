"""Repositories of ModelScope: listed with their digests, at a commit where it is told."""

import pytest
from model_sources import TEXT, VISION, a_config, bent
from modelscope_server import ModelScopeServer
from tiny_models import TinyModel, write_model

from lumen_process.backoff import Backoff
from lumen_resources.errors import ResourceError
from lumen_resources.fetch.fetch import FetchOptions, fetch_and_verify, open_verified
from lumen_resources.progress import Progress
from lumen_resources.sources import modelscope
from lumen_resources.sources.protocol import RetryPolicy, SourceAccess

URI = "modelscope://me/tiny-clip"


@pytest.fixture
def hub(tmp_path):
    folder = write_model(tmp_path / "source")
    with ModelScopeServer(tmp_path / "hub") as server:
        server.publish(folder)
        yield server


def fetch(hub, cache, uri=URI, *, token="", variables=(), **changes):
    access = SourceAccess(
        token=token,
        variables={"MODELSCOPE_DOMAIN": hub.url, **dict(variables)},
        retries=RetryPolicy(attempts=2, backoff=Backoff(0.002, 15)),
    )
    config = a_config(uri, "tiny-classes", **changes)
    return fetch_and_verify(config, cache, cache, Progress(), FetchOptions(access=access))


def refused(hub, cache, uri=URI, **options) -> ResourceError:
    with pytest.raises(ResourceError) as caught:
        fetch(hub, cache, uri, **options)
    return caught.value


def test_a_repository_is_fetched_at_its_commit_and_opened_again_without_the_hub(hub, tmp_path):
    cache = tmp_path / "cache"
    model = fetch(hub, cache)
    asked = len(hub.requests)

    assert model.revision == hub.names["master"]
    assert model == fetch(hub, cache)
    assert model == open_verified(a_config(URI, "tiny-classes"), cache, cache)
    assert asked == len(hub.requests)


def test_a_pinned_pod_gets_the_commit_of_the_first_also_from_an_empty_cache(hub, tmp_path):
    first = fetch(hub, tmp_path / "cache")
    hub.publish(write_model(tmp_path / "newer", TinyModel(seed=8)))
    pins = {"pinnedRevision": first.revision, "pinnedDigest": first.digest}

    assert first.digest == fetch(hub, tmp_path / "another", **pins).digest
    assert first.revision != fetch(hub, tmp_path / "a third").revision


def test_where_no_commit_is_told_the_revision_is_of_what_is_listed(hub, tmp_path):
    hub.says_commit = False
    first = fetch(hub, tmp_path / "cache")
    pins = {"pinnedRevision": first.revision, "pinnedDigest": first.digest}
    assert first.revision == fetch(hub, tmp_path / "another", **pins).revision

    hub.publish(write_model(tmp_path / "newer", TinyModel(seed=8)))

    assert refused(hub, tmp_path / "a third", **pins).reason == "ChecksumMismatch"


@pytest.mark.parametrize(
    "said",
    [{"Id": "../../etc"}, {"Id": "\x1b[31m" * 8}, {"ShortId": ""}, {"ShortId": "0"}, {"Id": None}],
)
def test_what_is_said_in_place_of_a_commit_is_not_taken_for_one(hub, tmp_path, said):
    hub.committer = said

    model = fetch(hub, tmp_path / "cache")

    assert model.revision not in {*hub.commits, "0" * 40, *said.values()}
    assert set(model.revision) <= set("0123456789abcdef")


def test_a_file_that_is_not_the_listed_one_is_named(hub, tmp_path):
    good = next(iter(hub.commits.values())) / VISION
    hub.content.contents[f"{hub.names['master']}/{VISION}"] = bent(good.read_bytes())
    error = refused(hub, tmp_path / "cache")
    assert (error.reason, error.file) == ("ChecksumMismatch", VISION)
    hub.content.contents.clear()

    fetch(hub, tmp_path / "cache")


def test_a_large_file_that_was_cut_is_resumed(hub, tmp_path):
    name = f"{hub.names['master']}/{TEXT}"
    hub.content.cut_after[name] = (50_000, 1)

    fetch(hub, tmp_path / "cache")

    size = (next(iter(hub.commits.values())) / TEXT).stat().st_size
    assert hub.content.sent[name] == size


@pytest.mark.parametrize("told", ["secret", "variable"])
def test_a_token_goes_to_the_hub_and_not_to_the_content_network(hub, tmp_path, told):
    hub.token = "s3cret"
    assert refused(hub, tmp_path / "cache").reason == "Unauthorized"
    wrong = refused(hub, tmp_path / "cache", token="wrong")
    assert wrong.reason == "Unauthorized"
    assert "refuses the token" in wrong.message

    how = {
        "secret": {"token": "s3cret"},
        "variable": {"variables": {"MODELSCOPE_API_TOKEN": "s3cret"}},
    }
    fetch(hub, tmp_path / "cache", **how[told])

    assert hub.content.tokens == set()


def test_what_is_not_there_is_named(hub, tmp_path):
    cache = tmp_path / "cache"
    assert refused(hub, cache, "modelscope://me/no-such").reason == "RepositoryNotFound"
    assert refused(hub, cache, f"{URI}@no-such-tag").reason == "RepositoryNotFound"


@pytest.mark.parametrize("digest", ["", "0" * 40, "g" * 64])
def test_a_file_without_a_digest_is_refused(hub, tmp_path, digest):
    hub.digests[TEXT] = digest

    error = refused(hub, tmp_path / "cache")

    assert (error.reason, error.file) == ("ModelInfoInvalid", TEXT)


@pytest.mark.parametrize("at", ["", "@master"])
def test_a_data_set_is_listed_page_by_page_and_gives_label_sets(hub, tmp_path, monkeypatch, at):
    monkeypatch.setattr(modelscope, "PAGE_FILES", 4)
    hub.kind = "datasets"
    folder = write_model(tmp_path / "model")
    label_set = {
        "name": "tiny-classes",
        "source": {"uri": f"modelscope://datasets/me/tiny-clip{at}"},
    }

    model = fetch(hub, tmp_path / "cache", folder.as_uri(), labelSets=[label_set])

    (found,) = model.label_sets
    assert found.labels.is_relative_to(tmp_path / "cache")
    assert sum(path.endswith("/repo/tree") for path in hub.requests) > 2
    assert found.revision


def test_a_data_set_that_never_ends_is_refused(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(modelscope, "PAGE_FILES", 2)
    monkeypatch.setattr(modelscope, "MAX_PAGES", 2)
    hub.kind = "datasets"

    error = refused(hub, tmp_path / "cache", "modelscope://datasets/me/tiny-clip")

    assert "more than 2 pages" in error.message


@pytest.mark.parametrize("endpoint", ["https://hub.example.org", "http://127.0.0.1:1"])
def test_the_tokens_cookie_never_leaves_in_the_clear_where_the_hub_speaks_https(endpoint):
    access = SourceAccess(token="s3cret", variables={"MODELSCOPE_DOMAIN": endpoint})

    (cookie,) = modelscope.ModelScopeSource(URI, access)._web._client.cookies.jar

    assert cookie.secure is endpoint.startswith("https")
    assert cookie.domain == endpoint.partition("://")[2].partition(":")[0]
