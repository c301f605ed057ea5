"""Which files of a folder are pictures, in which order, and what is said of the others?"""

import os
import socket
import sys
from pathlib import Path

import pytest
import tiny_models

from lumen_client import ContentError, folders
from lumen_client.folders import Leftover, PictureFolder
from lumen_client.sequence import pictures_in

PICTURE = tiny_models.a_jpeg()


def lay(root: Path, *names: str, content: bytes = PICTURE) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def names_in(folder: PictureFolder) -> list[str]:
    return [str(path.relative_to(folder.path)) for path in folder]


def test_pictures_come_in_natural_order_level_by_level(tmp_path):
    lay(tmp_path, "img10.jpg", "img2.jpg", "IMG1.JPG", "b/2.png", "b/11.png", "a/z.jpg", "c.jpg")
    lay(tmp_path, "9" * 200 + ".jpg", "²³.jpg", "01.jpg", "1.jpg")

    found = names_in(PictureFolder(tmp_path))

    assert found == [
        *("01.jpg", "1.jpg", "9" * 200 + ".jpg", "a/z.jpg", "b/2.png", "b/11.png", "c.jpg"),
        *("IMG1.JPG", "img2.jpg", "img10.jpg", "²³.jpg"),
    ]


def test_what_systems_leave_beside_pictures_is_counted_by_its_kind(tmp_path):
    lay(tmp_path, "a.jpg", "._a.jpg", ".DS_Store", ".thumbnails/a.jpg", ".hidden/b.jpg")
    lay(tmp_path, "@eaDir/a.jpg/SYNOPHOTO.jpg", "Thumbs.db", "$RECYCLE.BIN/x.jpg", "__MACOSX/y.jpg")
    lay(tmp_path, "zero.jpg", "zero.txt", content=b"")
    lay(tmp_path, "notes.txt", "film.mp4", content=b"no picture at all")
    (tmp_path / "nowhere.jpg").symlink_to("gone.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "linked.jpg").symlink_to("a.jpg")
    (tmp_path / "up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as holder:
        holder.bind(os.path.relpath(tmp_path / "socket.jpg"))
        folder = PictureFolder(tmp_path)

        assert names_in(folder) == ["a.jpg", "linked.jpg"]

    assert folder.leftovers == {
        Leftover.HIDDEN: 4,
        Leftover.SYSTEM: 4,
        Leftover.EMPTY: 2,
        Leftover.BROKEN_LINK: 2,
        Leftover.FOLDER_LINK: 1,
        Leftover.SPECIAL: 2,
        Leftover.OTHER: 2,
    }
    assert folder.summary() == (
        "hidden: 4, of the system: 4, empty: 2, broken links: 2, links to folders: 1, "
        "pipes, sockets, devices: 2, other files: 2"
    )
    assert folder.unreadable == []


def test_bytes_decide_where_a_name_says_nothing_and_a_picture_s_name_is_never_left_out(tmp_path):
    lay(tmp_path, "IMG_0001", "photo.dat", "a.b.c", "folder.jpg/inside.webp")
    lay(tmp_path, "text.jpg", content=b"this is no picture")
    lay(tmp_path, "README", content=b"neither is this")

    assert names_in(PictureFolder(tmp_path)) == [
        *("a.b.c", "folder.jpg/inside.webp", "IMG_0001", "photo.dat", "text.jpg")
    ]


def test_names_that_are_not_utf_8_are_given_as_they_are(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9 \x1b[31m\n.jpg"
    with open(raw, "wb") as file:  # noqa: PTH123 - a name in bytes
        file.write(PICTURE)

    (found,) = PictureFolder(tmp_path)

    assert os.fsencode(found) == raw


def refuse_to_list(name, monkeypatch):
    """Let a folder of that name be one that may not be read; root may read any."""
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", refusing)


def test_a_folder_that_cannot_be_listed_is_named_and_the_others_go_on(tmp_path, monkeypatch):
    lay(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    refuse_to_list("b", monkeypatch)
    folder = PictureFolder(tmp_path)

    assert names_in(folder) == ["a/1.jpg", "c/3.jpg"]
    assert folder.unreadable == [(tmp_path / "b", "Permission denied")]


def test_a_client_gets_all_pictures_before_it_hears_of_what_cannot_be_listed(tmp_path, monkeypatch):
    lay(tmp_path, "a/1.jpg", "c/3.jpg")
    (tmp_path / "b").mkdir()
    refuse_to_list("b", monkeypatch)
    given = pictures_in(tmp_path)

    assert [next(given).name, next(given).name] == ["1.jpg", "3.jpg"]
    with pytest.raises(ContentError, match=r"b' cannot be listed: Permission denied"):
        next(given)


@pytest.mark.parametrize("what", ["gone", "a file"])
def test_what_is_no_folder_is_unreadable(tmp_path, what):
    path = tmp_path / "x"
    if what == "a file":
        path.write_bytes(PICTURE)
    folder = PictureFolder(path)

    assert list(folder) == []
    assert [found for found, _ in folder.unreadable] == [path]


def test_the_first_picture_is_given_before_the_second_folder_is_listed(tmp_path, monkeypatch):
    lay(tmp_path, *(f"{folder}/{file}.jpg" for folder in range(5) for file in range(3)))
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(folders.os, "scandir", lambda path: listed.append(path) or scandir(path))

    first = next(iter(PictureFolder(tmp_path)))

    assert first == tmp_path / "0" / "0.jpg"
    assert len(listed) == 2


def test_a_deep_folder_is_walked_without_a_call_for_each_level(tmp_path):
    deepest = tmp_path.joinpath(*["d"] * 150)
    lay(deepest, "x.jpg")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(140)
    try:
        found = list(PictureFolder(tmp_path))
    finally:
        sys.setrecursionlimit(limit)

    assert found == [deepest / "x.jpg"]
