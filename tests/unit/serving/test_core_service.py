"""What a service makes of what the engine gave it."""

from types import SimpleNamespace

import numpy as np
import pytest

from lumen_manifest.spec.enums import Family
from lumen_serving.classify.protocol import Result
from lumen_serving.errors import BackendFailed
from lumen_serving.inference.queue import ItemOutcome
from lumen_serving.requests import Request
from lumen_serving.service import ModelService
from lumen_terms.modality import Modality
from lumen_wire.meta import RequestMeta
from lumen_wire.tasks import TaskKind


class APipeline:
    """Answers at once, without a picture."""

    async def run(self, caller, modality, deadline_at, look, scoring=None):
        vector = np.array([1, 0], np.float32)
        return ItemOutcome(vector, [], decode_ms=0, queue_ms=0, model_ms=0, score_ms=0)


def a_service(labels) -> ModelService:
    model = SimpleNamespace(modalities={Modality.IMAGE}, embedding_space="s", model_id="m")
    query = SimpleNamespace(result=lambda scored: Result(labels, {}))
    classifier = SimpleNamespace(query=lambda meta: query)
    return ModelService(Family.CLIP, model, None, {TaskKind.CLASSIFY: classifier}, APipeline())


def a_request() -> Request:
    return Request(TaskKind.CLASSIFY, b"", "", RequestMeta(), 0.0)


@pytest.mark.parametrize("labels", [[], [("cat", float("nan"))], [("cat", 1.0), ("dog", np.inf)]])
async def test_a_ranking_without_an_answer_is_a_failure_and_not_an_empty_success(labels):
    with pytest.raises(BackendFailed):
        await a_service(labels).answer(a_request())


class ATokenizer:
    """Notes in which language it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], str]] = []

    def encode(self, texts, language=""):
        self.asked.append((list(texts), language))
        return np.ones((len(texts), 4), np.int64), (False,) * len(texts)

    def is_empty(self, row):
        return False


class ALookingPipeline(APipeline):
    """Does the work of an item as well."""

    async def run(self, caller, modality, deadline_at, look, scoring=None):
        look().make()
        return await super().run(caller, modality, deadline_at, look, scoring)


@pytest.mark.parametrize("language", [None, "deu_Latn"])
async def test_a_text_is_tokenised_in_the_language_that_the_request_names(language):
    tokenizer = ATokenizer()
    model = SimpleNamespace(modalities={Modality.TEXT}, embedding_space="s", model_id="m")
    service = ModelService(Family.CLIP, model, tokenizer, {}, ALookingPipeline())
    meta = RequestMeta(language=language)

    await service.answer(Request(TaskKind.TEXT_EMBED, b"ein Hund", "", meta, 0.0))

    assert tokenizer.asked == [(["ein Hund"], language or "")]
