"""What tests of several packages share: builders of models and servers, importable by name."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# The same examples on every run, however slow the machine is; `--hypothesis-profile=others` draws
# others.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("others", deadline=None)
settings.load_profile("repeatable")


def _importable(name: str, path: Path) -> ModuleType:
    """Load a builder module once; importlib mode puts no test folder on the path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


_BUILDERS = Path(__file__).parent / "integration"
tiny_models = _importable("tiny_models", _BUILDERS / "tiny_models.py")
_importable("serving_servers", _BUILDERS / "serving_servers.py")
_importable("http2_pings", _BUILDERS / "http2_pings.py")
_importable("http2_raw", _BUILDERS / "http2_raw.py")
_importable("wire_servers", _BUILDERS / "wire_servers.py")
_importable("wire_messages", Path(__file__).parent / "unit" / "wire_messages.py")
_importable("cluster_objects", Path(__file__).parent / "unit" / "cluster_objects.py")
for _name in ("manifest_texts", "rendered_pods"):
    _importable(_name, Path(__file__).parent / "unit" / "manifest" / f"{_name}.py")
for _name in ("damage", "hostile_pictures", "fuzz_server", "attack_pictures"):
    _importable(_name, Path(__file__).parent / "fuzz" / f"{_name}.py")
_importable("router_world", _BUILDERS / "router_world.py")
_importable("router_scripts", _BUILDERS / "router_scripts.py")
_importable("fault_server", _BUILDERS / "fault_server.py")


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory) -> Path:
    """A cache folder that holds `tiny-clip` and `tiny-bioclip`; read it only."""
    cache = tmp_path_factory.mktemp("tiny-cache")
    tiny_models.write_model(cache)
    tiny_models.write_model(cache, tiny_models.a_bioclip())
    return cache
