"""What the tests of this folder stand on: the references, in an environment of their own."""

import open_clip
import torch
import transformers


def test_the_references_are_here():
    assert open_clip.__version__.startswith("3.3")
    assert torch.__version__.startswith("2.")
    assert transformers.__version__.startswith("5.")
