"""A short run of tests/fuzz: `make fuzz` is the long one."""

import fuzz_server


def test_1500_damaged_requests_neither_crash_the_server_nor_are_called_its_fault(tmp_path):
    with fuzz_server.a_fuzzed_server(tmp_path) as server:
        tally = fuzz_server.fuzz(server, cases=1500, seed=fuzz_server.DEFAULT_SEED)

    assert tally.cases >= 1500
    # Damage is mixed: some requests still succeed, most are refused.
    assert tally.codes["in-band result"] > 50
    assert tally.codes["in-band INVALID_ARGUMENT"] > 200
