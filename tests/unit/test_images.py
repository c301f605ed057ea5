import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_IMAGES = _ROOT / "images"
_NAMES = sorted(path.stem for path in _IMAGES.glob("*.Containerfile"))


def _load(name):
    spec = importlib.util.spec_from_file_location(f"images_{name}", _IMAGES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_BUILD, _LOCK = _load("build"), _load("lock")


def _containerfile(name):
    return (_IMAGES / f"{name}.Containerfile").read_text()


def test_no_package_is_left_out_of_the_wheel_that_images_install():
    described = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    packages = described["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

    ours = {path.parent for path in _ROOT.glob("[so]*/lumen_*/__init__.py")}

    assert {_ROOT / package for package in packages} == ours


@pytest.mark.parametrize("name", _NAMES)
def test_an_image_runs_as_nobody_and_says_what_it_is(name):
    last_stage = re.split(r"^FROM ", _containerfile(name), flags=re.MULTILINE)[-1]

    assert "USER 65532:65532" in last_stage
    assert "ENTRYPOINT" not in last_stage
    assert "pip install" not in last_stage
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in last_stage


@pytest.mark.parametrize("name", _NAMES)
def test_an_image_installs_by_hash_from_the_lock_file_of_its_name(name):
    text = _containerfile(name)

    assert name in _LOCK.LOCKED
    assert f"locks/{name}.txt" in text
    for line in re.findall(r"pip (?:--python \S+ )?install .*", text):
        assert "--require-hashes" in line or "--no-index" in line


def test_images_on_one_base_differ_only_in_what_they_are():
    """Each file is read by itself; what they share stays the same in all of them."""
    on_python = [name for name in _NAMES if "PYTHON_IMAGE" in _containerfile(name)]

    assert len(on_python) == 8
    assert len({_shared(name) for name in on_python}) == 1


def _shared(name):
    text = re.sub(r"\A(#.*\n)+", "", _containerfile(name)).replace(
        f"locks/{name}.txt", "locks/X.txt"
    )
    text = re.sub(r'(image\.(?:title|description))="[^"]*"', r"\1", text)
    text = re.sub(r'^CMD \["python3", "-m", "lumen_\w+"\]$', "CMD", text, flags=re.MULTILINE)
    # CUDA's and cuDNN's libraries are found by variables.
    return re.sub(r" \\\n    (?:NVIDIA_\w+|LD_LIBRARY_PATH)=\S+", "", text)


@pytest.mark.parametrize(
    ("prefix", "reference"),
    [
        ("lumen", "docker.io/lumen/router:1.2"),
        ("lumen/nightly", "docker.io/lumen/nightly/router:1.2"),
        ("registry.example.org/lumen", "registry.example.org/lumen/router:1.2"),
        ("localhost/lumen", "localhost/lumen/router:1.2"),
        ("10.0.0.1:5000/lumen", "10.0.0.1:5000/lumen/router:1.2"),
    ],
)
def test_a_prefix_without_a_registry_means_docker_hub_as_it_does_on_a_node(prefix, reference):
    request = _BUILD.Request(prefix, "1.2", None, {}, None, measure=False, verbose=False)

    assert reference == request.reference("router")


def test_an_unknown_image_is_refused_with_the_known_ones():
    ended = subprocess.run(
        [sys.executable, str(_IMAGES / "build.py"), "operater"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 2
    assert "no such image: operater; there are operator, " in ended.stderr


def test_images_have_the_projects_version_which_a_python_without_tomllib_finds_too():
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    asked = (
        "import runpy, sys; sys.modules['tomllib'] = None;"
        " print(runpy.run_path(sys.argv[1])['_version']())"
    )

    ended = subprocess.run(
        [sys.executable, "-c", asked, str(_IMAGES / "build.py")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.stdout.strip() == project["version"], ended.stderr


def test_without_an_engine_it_says_what_to_install(tmp_path):
    ended = subprocess.run(
        [sys.executable, str(_IMAGES / "build.py"), "operator"],
        capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)},
    )  # fmt: skip

    assert ended.returncode == 1
    assert "Install one (Debian: apt install buildah)." in ended.stderr


def test_secrets_are_handed_to_the_build_and_kept_out_of_arguments(tmp_path):
    config = tmp_path / "pip.conf"
    request = _BUILD.Request("lumen", "1", None, {"pip.conf": config}, None, False, False)

    command = _BUILD.Engine("docker").build("router", request)

    assert f"id=pip.conf,src={config}" in command
    assert not [word for word in command if word.startswith("PIP")]
