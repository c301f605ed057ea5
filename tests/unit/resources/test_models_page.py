"""docs/models.md says of every kind of model what is derived from its repository."""

from pathlib import Path

from published_models import BY_ROW

from lumen_manifest.spec.enums import Precision, Runtime, Tower
from lumen_resources.model.choice import ComputeChoice, choose
from lumen_resources.model.derive import derive
from lumen_resources.model.preprocessing import preprocess_of
from lumen_resources.model.text_rules import TokenizerFiles, text_rule_of

PAGE = Path(__file__).parents[3] / "docs" / "models.md"
HEAD = "| kind | repository | runtimes | vector | pictures | texts | scores |\n|"


def row_of(kind: str) -> str:
    there = BY_ROW[kind]
    info, _ = derive(there.repository, there.files(), there.read())
    runtime = next(r for r in Runtime if r in info.runtimes)
    files = choose(there.files(), info, ComputeChoice(runtime, Precision.FP32))
    config, processor = (there.documents.get(p or "") for p in (files.config, files.preprocessor))
    seen = preprocess_of(info, config, processor)
    text = text_rule_of(info, config, TokenizerFiles())
    has_pictures = Tower.VISION in (info.lumen.towers or Tower)
    pictures = f"{seen.size} {seen.resize_mode}, {seen.interpolation}" if has_pictures else "none"
    texts = [str(text.context_length), text.cleaning, text.frame, f"pad {text.pad_id}"]
    cells = [
        kind,
        f"`{there.repository}`",
        ", ".join(info.offered()),
        str(info.embedding_dim),
        pictures,
        ", ".join([*texts, *([text.language] if text.language else [])]),
        info.lumen.score.kind if info.lumen.score else "",
    ]
    return f"| {' | '.join(cells)} |"


def test_the_page_says_of_every_kind_what_is_derived():
    table = PAGE.read_text().partition(HEAD)[2].partition("\n\n")[0]

    assert table.splitlines()[1:] == [row_of(kind) for kind in BY_ROW]
