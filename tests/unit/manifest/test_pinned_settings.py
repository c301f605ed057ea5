"""What a pod's environment pins is newer than the settings it was rendered with."""

from model_sources import a_config

from lumen_manifest.server_config import ServerConfig


def test_the_pins_of_the_environment_reach_the_settings(tmp_path):
    path = tmp_path / "server.json"
    path.write_text(a_config("hf://me/x").to_json())
    pins = {
        "LUMEN_PINNED_REVISION": "a" * 40,
        "LUMEN_PINNED_DIGEST": "d" * 64,
        "LUMEN_PINNED_LABEL_SETS": "TreeOfLife=" + "b" * 40,
    }

    config = ServerConfig.load(path, pins)

    assert (config.pinned_revision, config.pinned_digest) == ("a" * 40, "d" * 64)
    assert config.pinned_label_sets == "TreeOfLife=" + "b" * 40
    assert ServerConfig.load(path, {}).pinned_label_sets is None
