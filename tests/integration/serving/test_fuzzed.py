"""A short run of tests/fuzz: `make fuzz` and the attack scripts are the long ones."""

import attack_pictures
import fuzz_server
import hostile_pictures
import pytest


def test_1500_damaged_requests_neither_crash_the_server_nor_are_called_its_fault(tmp_path):
    with fuzz_server.a_fuzzed_server(tmp_path) as server:
        tally = fuzz_server.fuzz(server, cases=1500, seed=fuzz_server.DEFAULT_SEED)

    assert tally.cases >= 1500
    # Damage is mixed: some requests still succeed, most are refused.
    assert tally.codes["in-band result"] > 50
    assert tally.codes["in-band INVALID_ARGUMENT"] > 200


@pytest.mark.parametrize(
    "picture",
    [
        hostile_pictures.a_webp(8000, 8000),
        hostile_pictures.a_webp(5000, 5000, 20_000),
        hostile_pictures.a_jpeg_in_scans(500, 500, 3000),
        hostile_pictures.a_jpeg_in_scans(2000, 2000, 80),
    ],
    ids=["pixels from nothing", "many pixels", "thousands of scans", "many scans"],
)
def test_a_good_client_is_answered_beside_senders_of_hostile_pictures(tmp_path, picture):
    with fuzz_server.a_fuzzed_server(tmp_path) as server:
        heard = attack_pictures.attack(server, picture, calls=4, attackers=6, deadline_s=60)
        log = server.log()

    assert heard.good == {"OK": 4}
    assert "INTERNAL" not in heard.attackers
    assert heard.peak_bytes < heard.limit_bytes
    assert '"level":"error"' not in log
