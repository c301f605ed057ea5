"""Variables are read with their defaults and bounds, and refused by name with what to do."""

import pytest

from lumen_process.settings import Environment, SettingsError


def test_a_variable_that_is_empty_or_missing_has_its_default():
    env = Environment({"EMPTY": ""})

    assert (env.text("EMPTY", "json"), env.text("MISSING", "json")) == ("json", "json")
    assert (env.port("EMPTY", 9090), env.number("MISSING", 2.5)) == (9090, 2.5)
    assert str(env.path("EMPTY", "/etc/lumen")) == "/etc/lumen"


def test_numbers_are_read_as_people_and_helm_write_them():
    env = Environment({"BYTES": "2.68435456e+08", "PORT": "0", "SECONDS": "0.5"})

    assert (env.whole("BYTES", 0), env.port("PORT", 1)) == (268_435_456, 0)
    assert env.number("SECONDS", 1) == 0.5


@pytest.mark.parametrize("text", ["70000", "-1", "50051.5", "http", "nan", "inf", "1e400"])
def test_what_is_not_a_port_is_refused_by_name(text):
    with pytest.raises(SettingsError, match=r"^PORT is '.+': give a port, 0 to 65535$"):
        Environment({"PORT": text}).port("PORT", 1)


def test_a_number_is_held_to_its_bounds():
    env = Environment({"N": "0.5"})

    with pytest.raises(SettingsError, match="give a number, at least 1"):
        env.number("N", 2, least=1)
    with pytest.raises(SettingsError, match="LEASE is not set: name a Lease"):
        env.required("LEASE", "name a Lease")
