"""What `lumen up` reads: several files are one set of services behind one router."""

import pytest

from lumen_local.start import read_manifests
from lumen_manifest.reading.parse import ManifestError

SERVICE = """\
apiVersion: lumen.dev/v1alpha1
kind: LumenModelService
metadata: {name: NAME}
spec: {family: clip, model: {name: m, runtime: onnx}, pool: cpu, MORE}
"""


def a_file(tmp_path, name: str, more: str) -> str:
    path = tmp_path / f"{name}.yaml"
    path.write_text(SERVICE.replace("NAME", name).replace("MORE", more))
    return str(path)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("aliases: [a]", "new  spec.aliases[0]: Callers who say a reach a, which is called so"),
        ("aliases: [x, fast]", "new  spec.aliases[1]: Callers who say fast reach a, which has it"),
        ("default: true", "new  spec.default: a is the default for clip and came first."),
    ],
)
def test_a_name_that_two_files_want_is_refused_before_anything_starts(tmp_path, more, said):
    files = [a_file(tmp_path, "a", "aliases: [fast], default: true"), a_file(tmp_path, "new", more)]

    with pytest.raises(ManifestError) as refused:
        read_manifests(files)

    assert str(refused.value).startswith(said)


def test_files_that_share_no_name_are_read_together(tmp_path):
    files = [a_file(tmp_path, "a", "default: true"), a_file(tmp_path, "b", "aliases: [slow]")]

    assert [each.name for each in read_manifests(files).services] == ["a", "b"]
