"""When does a call go through a proxy, and through which?"""

import pytest

from lumen_process.addresses import is_this_machine
from lumen_process.proxies import Proxy, grpc_proxy, web_proxy

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "Router.LOCALHOST.",
        "127.0.0.1",
        "127.9.9.9",
        "[::1]",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
    ],
)
def test_this_machine_is_told_by_its_names_and_addresses(host):
    assert is_this_machine(host)
    assert grpc_proxy(host, {"https_proxy": PROXY}) is None
    shown = f"[{host}]" if ":" in host and "[" not in host else host
    assert web_proxy(f"https://{shown}:6443", {"HTTPS_PROXY": PROXY}) is None


@pytest.mark.parametrize("host", ["10.0.0.1", "lumen", "localhost.example", "", "1.127.0.0", "1"])
def test_another_machine_is_none_of_them(host):
    assert not is_this_machine(host)


@pytest.mark.parametrize(
    ("env", "variable"),
    [
        ({"grpc_proxy": PROXY, "https_proxy": "http://other:1"}, "grpc_proxy"),
        ({"https_proxy": PROXY, "http_proxy": "http://other:1"}, "https_proxy"),
        ({"http_proxy": PROXY}, "http_proxy"),
        ({"HTTPS_PROXY": PROXY}, None),  # its core reads lower case alone
        ({"grpc_proxy": "", "https_proxy": PROXY}, None),
        ({"https_proxy": "https://proxy.example:3128"}, None),
        ({"https_proxy": PROXY, "no_proxy": "a, EXAMPLE"}, None),
        ({"https_proxy": PROXY, "no_grpc_proxy": "", "no_proxy": "example"}, "https_proxy"),
        ({"https_proxy": PROXY, "no_proxy": "*"}, "https_proxy"),
        ({}, None),
    ],
)
def test_grpc_chooses_by_its_own_rules(env, variable):
    found = grpc_proxy("lumen.example", env)

    assert found == (Proxy(variable, PROXY) if variable else None)


@pytest.mark.parametrize(
    ("excepted", "asked"),
    [
        ("", True),
        ("*", False),
        ("10.0.0.0/8", False),
        ("10.1.2.3", False),
        ("10.1.2.3:6443", False),
        ("10.1.2.3:443", True),
        ("10.1.2", True),
        ("fd00::/8", True),
    ],
)
def test_kubectls_rules_for_an_address(excepted, asked):
    env = {"HTTPS_PROXY": PROXY, "NO_PROXY": excepted}

    assert (web_proxy("https://10.1.2.3:6443", env) is not None) is asked


@pytest.mark.parametrize(
    ("excepted", "asked"),
    [
        ("example", False),
        (".example", False),
        ("*.example", False),
        ("API.example", False),
        (".api.example", True),
        ("pi.example", True),
        ("api.example:6443,x", False),
    ],
)
def test_kubectls_rules_for_a_name(excepted, asked):
    env = {"https_proxy": "proxy.example:3128", "no_proxy": excepted}

    found = web_proxy("https://api.example:6443", env)

    assert found == (Proxy("https_proxy", PROXY) if asked else None)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://someone:secret@proxy.example:3128", "proxy.example:3128 (https_proxy)"),
        ("http://proxy.example", "proxy.example (https_proxy)"),
        ("http://[fd00::1]:3128/", "[fd00::1]:3128 (https_proxy)"),
        ("http://a:secret@[proxy", "an address that cannot be read (https_proxy)"),
    ],
)
def test_a_proxy_is_shown_without_its_password(url, shown):
    assert str(Proxy("https_proxy", url)) == shown
