"""The commands and the client against a running door."""

import csv
import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tiny_models
from local_runs import ENVIRONMENT, Lumen, tiny_service

from lumen_client import Client, ContentError, ItemError, ServerError


def command(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "lumen_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        env=ENVIRONMENT | more,
        check=False,
    )


@pytest.fixture(scope="module")
def door(tmp_path_factory, tiny_cache):
    """The address of a router in front of both tiny models, and a folder with pictures."""
    folder = tmp_path_factory.mktemp("door")
    manifest = folder / "lumen.yaml"
    manifest.write_text("---".join(tiny_service(each, tiny_cache) for each in ("clip", "bioclip")))
    (folder / "pictures").mkdir()
    for n in range(3):
        (folder / "pictures" / f"{n}.jpg").write_bytes(tiny_models.a_jpeg(n))
    up = ("up", "-f", str(manifest), "--port", "0", "--state-dir", str(folder / "state"))
    with Lumen(*up, cwd=folder) as run:
        yield run.until_up(), folder / "pictures"


def test_vectors_come_in_input_order_whatever_the_kind(door):
    address, pictures = door
    contents = ["a cat", pictures / "0.jpg", str(pictures / "1.jpg"), tiny_models.a_jpeg(0)]
    with Client(f"grpc://{address}") as client:
        together = client.encode(iter(contents), prefetch=2)
        alone = np.concatenate([client.encode([content]) for content in contents])
        nothing = client.encode([])

    assert together.dtype == np.float32
    assert np.array_equal(together, alone)
    assert np.array_equal(together[1], together[3])
    assert nothing.shape == (0, 0)


def test_a_bare_string_is_no_list_of_items(door):
    with (
        Client(f"grpc://{door[0]}") as client,
        pytest.raises(TypeError, match=r"encode\(\[item\]\)"),
    ):
        client.encode("a cat")


def test_a_failed_item_says_which_one_it_was(door):
    broken = tiny_models.a_jpeg(0)[:200]
    with Client(f"grpc://{door[0]}") as client, pytest.raises(ItemError) as failure:
        client.encode(["a cat", broken, "a dog"])

    assert failure.value.index == 1
    assert failure.value.__cause__.code == "INVALID_ARGUMENT"


def test_an_unknown_service_is_refused_by_name(door):
    with (
        Client(f"grpc://{door[0]}") as client,
        pytest.raises(ServerError, match="Known: bioclip, clip"),
    ):
        client.classify(tiny_models.a_jpeg(0), service="fungi")


def test_a_text_is_no_picture(door):
    with (
        Client(f"grpc://{door[0]}") as client,
        pytest.raises(ContentError, match="there is no such file"),
    ):
        client.smart_classify("nowhere.jpg")


def test_classify_goes_through_a_folder(door):
    address, pictures = door
    ran = command("classify", pictures, "--server", address, "--output", "json")

    assert ran.returncode == 0, ran.stderr
    rows = json.loads(ran.stdout)
    assert [row["picture"] for row in rows] == [str(p) for p in sorted(pictures.iterdir())]
    assert all(row["labels"] and row["source"] for row in rows)


def test_a_damaged_picture_keeps_its_row_and_only_its_error_column(door, tmp_path):
    address, pictures = door
    shutil.copy(pictures / "0.jpg", tmp_path)
    (tmp_path / "damaged.jpg").write_bytes((pictures / "0.jpg").read_bytes()[:200])

    ran = command("classify", tmp_path, "--server", address, "--output", "csv")

    assert ran.returncode == 1
    good, damaged = csv.DictReader(ran.stdout.splitlines())
    assert good["decision"]
    assert not good["error"]
    assert damaged.pop("picture").endswith("damaged.jpg")
    assert damaged.pop("error").startswith("INVALID_ARGUMENT")
    assert set(damaged.values()) == {""}


def test_classify_tells_an_unexpected_answer_by_its_exit_code(door, tmp_path):
    address, pictures = door
    rows = json.loads(command("classify", pictures, "--server", address, "-o", "json").stdout)
    expected = {
        row["picture"].rsplit("/", 1)[1]: {
            "source": row["source"],
            "label": row["labels"][0]["label"],
        }
        for row in rows
    }
    file = tmp_path / "expected.json"
    codes = []
    for label in (expected["1.jpg"]["label"], "a unicorn"):
        expected["1.jpg"]["label"] = label
        file.write_text(json.dumps(expected))
        codes.append(command("classify", pictures, "--server", address, "--expect", file))

    assert [ran.returncode for ran in codes] == [0, 1]
    assert "1.jpg: expected" in codes[1].stderr


def test_nobody_at_the_address_is_one_sentence(tmp_path):
    picture = tmp_path / "a.jpg"
    picture.write_bytes(tiny_models.a_jpeg(0))
    ran = command("classify", picture, "--server", "127.0.0.1:1", "--timeout", "5")

    assert ran.returncode == 1
    assert ran.stderr.startswith("127.0.0.1:1 does not answer. Is Lumen running?")


@pytest.mark.parametrize("arguments", [("classify", "nowhere.jpg"), ("classify",), ("embed",)])
def test_a_wrong_argument_is_a_usage_error(arguments):
    assert command(*arguments).returncode == 2


def test_embed_writes_a_matrix(door, tmp_path):
    out = tmp_path / "vectors.npy"
    ran = command("embed", "a cat", door[1] / "0.jpg", "--server", door[0], "--out", out)

    assert ran.returncode == 0, ran.stderr
    assert np.allclose(np.linalg.norm(np.load(out), axis=1), 1, atol=1e-3)


def test_a_damaged_item_costs_only_its_row_of_the_matrix(door, tmp_path):
    (tmp_path / "damaged.jpg").write_bytes(tiny_models.a_jpeg(0)[:200])
    items = ("a cat", tmp_path / "damaged.jpg", door[1] / "0.jpg")
    ran = command("embed", *items, "--server", door[0], "--out", tmp_path / "v.npy")
    printed = command("embed", *items, "--server", door[0], "-o", "jsonl")

    assert ran.returncode == printed.returncode == 1
    assert "1 of 3 items failed" in ran.stderr
    assert "damaged.jpg: INVALID_ARGUMENT" in ran.stderr
    rows = [json.loads(line) for line in printed.stdout.splitlines()]
    kept = [row["vector"] for row in rows if "vector" in row]
    assert [row["item"] for row in rows] == list(map(str, items))
    assert np.allclose(np.load(tmp_path / "v.npy"), kept)
    names = [json.loads(line) for line in (tmp_path / "v.items.jsonl").open()]
    assert [(name["item"], name["row"]) for name in names] == [
        (str(items[0]), 0),
        (str(items[1]), None),
        (str(items[2]), 1),
    ]


def test_ctrl_c_keeps_what_is_answered(door, tmp_path):
    texts = [f"a cat number {n}" for n in range(3000)]
    words = ["embed", *texts, "--server", door[0], "-o", "json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lumen_cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rows = json.loads(first + process.stdout.read())
    said = process.stderr.read()
    items = [row["item"] for row in rows]

    assert process.wait(100) == 130
    # In order, each once; one that was answered before its neighbour is kept without it.
    assert items == [text for text in texts if text in set(items)]
    assert said == f"Stopped. {len(rows)} items are done.\n"


def test_a_reader_that_left_ends_a_batch_in_silence(door):
    piped = '"$0" -m lumen_cli classify "$1" --server "$2" -o csv | head -1'
    ran = subprocess.run(
        ["sh", "-c", piped, sys.executable, str(door[1]), door[0]],
        capture_output=True,
        text=True,
        timeout=100,
        env=ENVIRONMENT,
        check=False,
    )

    assert ran.stdout.startswith("picture,")
    assert ran.stderr == ""


def test_bench_reports_closed_and_open_loops(door, tmp_path):
    plot = tmp_path / "run.png"
    common = ("bench", door[0], "--size", "64x48", "--warmup", "0", "--output", "json")
    closed = command(*common, "--calls", 30, "-c", 4, "--plot", plot)
    opened = command(*common, "--rate", 20, "--duration", 1)

    for ran, calls in ((closed, 30), (opened, 20)):
        assert ran.returncode == 0, ran.stderr
        report = json.loads(ran.stdout)
        assert report["codes"] == {"OK": calls}
        assert 0 < report["percentiles_ms"]["p50"] <= report["percentiles_ms"]["p99"]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_bench_sends_no_load_to_a_server_that_refuses_the_first_call(door):
    ran = command("bench", door[0], "--task", "no_such_task", "--calls", 5)

    assert ran.returncode == 1
    assert "No load was sent" in ran.stderr
    assert "no_such_task" in ran.stderr


@pytest.mark.parametrize(
    ("beside", "code"), [(("sh", "-c", "exit 7"), 7), (("no-such-command",), 127)]
)
def test_a_command_beside_the_services_decides_the_exit_code(manifest, tmp_path, beside, code):
    up = ("up", "-f", manifest("clip"), "--port", 0, "--state-dir", tmp_path / "s")
    ran = command(*up, "--", *beside)

    assert ran.returncode == code, ran.stderr


def test_a_command_beside_the_services_knows_their_address(manifest, tmp_path):
    ran = command(
        *("up", "-f", manifest("clip"), "--port", 0, "--state-dir", tmp_path / "s", "--"),
        *(sys.executable, "-m", "lumen_cli", "embed", "a cat", "-o", "json"),
    )

    assert ran.returncode == 0, ran.stderr
    assert '"item":"a cat"' in ran.stdout


def test_embed_says_what_it_cut_and_takes_a_text_for_one_when_told(door, tmp_path):
    long = "a boat " * 500
    ran = command(
        *("embed", "a boat", long, "--text", "boats/*.jpg", "--server", door[0], "-o", "jsonl")
    )

    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0, ran.stderr
    assert [row["item"] for row in rows] == ["a boat", long, "boats/*.jpg"]
    assert [row.get("truncated") for row in rows] == [None, True, None]
    assert "1 of the texts were longer than the model reads" in ran.stderr


def test_embed_names_a_pattern_that_no_file_matched(door):
    ran = command("embed", "empty/*.jpg", "a boat", "--server", door[0], "-o", "jsonl")

    failed, good = (json.loads(line) for line in ran.stdout.splitlines())
    assert ran.returncode == 1
    assert "'empty/*.jpg'" in failed["error"]
    assert good["dim"] == 32


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("--service", "fungi"), "Known: bioclip, clip"), ((), "does not answer. Is Lumen running?")],
)
def test_what_all_items_would_meet_is_one_sentence(door, arguments, says):
    address = door[0] if arguments else "127.0.0.1:1"
    ran = command("embed", "a", "b", "c", "--server", address, *arguments)

    assert ran.returncode == 1
    assert ran.stderr.count(says) == 1
    assert len(ran.stderr.splitlines()) <= 2
