"""Files that others name: opened at once whatever lies there, and read within bounds."""

import os
import threading
from pathlib import Path

import pytest

from lumen_manifest.reading.parse import ManifestError, parse_files
from lumen_manifest.reading.regular_files import read_bounded, read_named
from lumen_manifest.server_config import ConfigError, ServerConfig

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_a_file_is_read_up_to_one_byte_more_than_is_allowed(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")

    assert read_bounded(tmp_path / "file", 20) == b"0123456789"
    assert read_bounded(tmp_path / "file", 4) == b"01234"


def test_a_pipe_that_nobody_writes_to_is_refused_at_once(pipe):
    with pytest.raises(OSError, match="a named pipe, where a file is expected"):
        read_named(pipe, 10)


def test_a_device_that_never_ends_is_refused(tmp_path):
    (tmp_path / "zero").symlink_to("/dev/zero")

    with pytest.raises(OSError, match="a device, where a file is expected"):
        read_named(tmp_path / "zero", 10)


def test_a_folder_is_none_either(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_bounded(tmp_path, 10)


def test_a_pipe_of_the_shell_is_read():
    reader, writer = os.pipe()
    threading.Thread(target=lambda: (os.write(writer, b"kind: x"), os.close(writer))).start()

    assert read_named(Path(f"/dev/fd/{reader}"), 100) == b"kind: x"
    os.close(reader)


def test_a_manifest_and_a_configuration_that_are_pipes_are_refused_by_name(pipe):
    with pytest.raises(ManifestError, match="a named pipe, where a file is expected"):
        parse_files([pipe])
    with pytest.raises(ConfigError, match="a named pipe, where a file is expected"):
        ServerConfig.load(pipe)
