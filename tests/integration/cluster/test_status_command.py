"""`lumen status` against an API server that answers from a script, over real HTTP."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner
from cluster_objects import a_model_service

from lumen_cli import status as command
from lumen_cli.main import cli

NEEDED = ("Accepted", "ResourcesReady", "DeviceReady", "Available", "Ready")


def service(name="clip", *, ready="True", progressing="RolloutComplete", reason="", seen=3):
    """A service of generation 3; `seen` is what the operator has read of it."""
    said = [(each, ready, "Why", "Do this.") for each in NEEDED]
    said.append(("Progressing", "False", progressing, f"It says {progressing}."))
    conditions = [
        {"type": t, "status": s, "reason": r, "message": m, "observedGeneration": seen}
        for t, s, r, m in said
    ]
    counts = {"ready": "1/1", "reason": reason, "observedGeneration": seen}
    return a_model_service(name, status={**counts, "conditions": conditions})


@pytest.fixture
def api():
    """Answer each list by the next of `answers`, the last one for ever; paths are in `asked`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server = self.server
            server.asked.append(self.path)
            code, said = server.answers[0]
            if len(server.answers) > 1:
                server.answers.pop(0)
            body = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def listed(*services):
    return 200, {"metadata": {"resourceVersion": "9"}, "items": list(services)}


def refused(code, message):
    return code, {"kind": "Status", "message": message}


@pytest.fixture
def lumen(api, tmp_path, monkeypatch):
    """Run `lumen status` as the context `here` of a kubeconfig, which is of namespace `photos`."""
    monkeypatch.setattr(command, "LOOK_AGAIN_S", 0.01)
    here = {"cluster": "c", "user": "u", "namespace": "photos"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": here},
            {"name": "there", "context": {**here, "namespace": "videos"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{api.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "opaque"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(document))

    def run(*words, answers):
        api.answers = list(answers)
        return CliRunner().invoke(cli, ["status", "--kubeconfig", str(path), *words])

    return run


def test_all_services_are_shown_by_name_and_a_report_of_trouble_is_no_failure(lumen):
    waits = service("bioclip", ready="False", reason="Fetching")
    done = lumen(answers=[listed(service(), waits)])

    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert head == ["name", "ready", "reason", "message"]
    assert rows == [["bioclip", "1/1", "Why", "Do", "this."], ["clip", "1/1"]]


@pytest.mark.parametrize(
    ("words", "namespace"),
    [((), "photos"), (("--context", "there"), "videos"), (("-n", "films"), "films")],
)
def test_the_namespace_is_that_of_the_context_unless_one_is_named(lumen, api, words, namespace):
    lumen(*words, answers=[listed()])

    assert f"/namespaces/{namespace}/lumenmodelservices" in api.asked[0]


def test_json_tells_the_verdict_of_those_that_were_named(lumen):
    done = lumen("clip", "-o", "json", answers=[listed(service(), service("other"))])

    (row,) = json.loads(done.stdout)
    assert (row["name"], row["outlook"]) == ("clip", "ready")


def test_the_wait_goes_on_until_the_newest_revision_serves(lumen, api):
    unread, rolling = service(seen=2), service(progressing="RollingOut")
    away = refused(503, "starting")
    script = [listed(unread), away, listed(rolling), listed(service())]
    done = lumen("clip", "--wait", answers=script)

    assert (done.exit_code, done.stderr) == (0, "")
    assert len(api.asked) == 4


def test_a_rejected_manifest_ends_the_wait_at_once_with_its_sentence(lumen, api):
    back = service(progressing="RolledBack", reason="RolledBack")
    done = lumen("--wait", "-o", "json", answers=[listed(back, service("other", seen=2))])

    assert done.exit_code == 1
    assert done.stderr == "clip will not become ready (RolledBack): It says RolledBack.\n"
    assert [row["outlook"] for row in json.loads(done.stdout)] == ["failed", "going on"]
    assert len(api.asked) == 1


def test_when_the_time_is_over_it_says_what_was_last_known(lumen):
    rolling, away = service(progressing="RollingOut"), refused(503, "busy")
    done = lumen("--wait", "--timeout", "1s", answers=[listed(rolling), away])

    assert done.exit_code == 1
    first, known, last = done.stderr.splitlines()
    assert "1 s" in first
    assert "It says RollingOut." in known
    assert "busy" in last


@pytest.mark.parametrize(
    ("words", "answer", "code", "said"),
    [
        (("absent",), listed(service()), 1, "no LumenModelService absent"),
        (("absent", "--wait"), listed(service()), 1, "which has: clip"),
        ((), refused(403, "no rights"), 1, "get, list and watch lumenmodelservices"),
        ((), refused(404, "no page"), 1, "kubectl apply -f crds/"),
        (("--wait",), refused(503, "starting"), 1, "is reached from here"),
        (("--context", "gone"), listed(), 1, "gone"),
        (("-n", "../nodes"), listed(), 2, "lower-case letters"),
        (("--timeout", "soon"), listed(), 2, "1h30m"),
        (("--timeout", "25h"), listed(), 2, "up to a day"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence_and_json_for_who_asked(
    lumen, words, answer, code, said
):
    done = lumen(*words, "-o", "json", answers=[answer])

    assert done.exit_code == code
    assert said in json.loads(done.stdout)["error"]["message"]
    assert said in done.stderr
    assert code == 2 or len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("words", "code"), [((), 0), (("--wait",), 1)])
def test_a_namespace_without_services_is_an_empty_list_and_none_is_ready(lumen, words, code):
    done = lumen(*words, "-o", "json", answers=[listed()])

    assert (done.exit_code, json.loads(done.stdout)) == (code, [])
    assert "in namespace photos" in done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("24h", 86400)]
)
def test_a_time_is_read_as_kubectl_reads_it(text, seconds):
    assert command.duration_s(None, None, text) == seconds
