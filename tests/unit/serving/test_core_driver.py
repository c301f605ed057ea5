"""What a server says of its device's driver."""

from lumen_serving.startup.driver import driver_of


def test_the_first_line_of_the_drivers_own_file_is_its_version(tmp_path):
    path = tmp_path / "version"
    path.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15\nGCC version: 12\n")

    said = driver_of("cuda", {"cuda": path})

    assert said == "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15"


def test_a_device_without_a_driver_has_none(tmp_path):
    assert driver_of("cpu") == ""
    assert driver_of("cuda", {"cuda": tmp_path / "nowhere"}) == ""
