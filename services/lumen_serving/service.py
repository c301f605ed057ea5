"""What each task means: from a payload and its meta to a result and its meta.

No proto type comes in and no array goes out; the servicer translates on one side, the engine
computes on the other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from lumen_manifest.spec.enums import Family
from lumen_resources.model.layouts import VerifiedModel
from lumen_serving.classify.protocol import Classifier, Query
from lumen_serving.errors import BackendFailed, BadTensor, BadText, OtherSpace, UnknownService
from lumen_serving.inference.preprocess_pool import Pipeline
from lumen_serving.inference.queue import ItemOutcome
from lumen_serving.media.images import look
from lumen_serving.media.preprocess import PreprocessWork
from lumen_serving.media.text import Tokenizer
from lumen_serving.requests import Answer, Request
from lumen_terms.modality import Modality
from lumen_wire import results
from lumen_wire.blank import is_blank
from lumen_wire.meta import RequestMeta, VectorFormat, check_namespace, quoted
from lumen_wire.tasks import TaskKind

PROMPT = "a photo of a {}"
_EMPTY = "The text is empty: nothing in it can be read. Send some words as UTF-8."
_MANY_LABELS = 256


class ModelService:
    """The tasks of one model; `classifiers` are those of the pictures: labels and scenes."""

    def __init__(
        self,
        family: Family,
        model: VerifiedModel,
        tokenizer: Tokenizer | None,
        classifiers: Mapping[TaskKind, Classifier],
        pipeline: Pipeline,
    ) -> None:
        self._family = family
        self._model = model
        self._classifiers = dict(classifiers)
        self._pipeline = pipeline
        self._tasks: dict[TaskKind, Callable[[Request], Awaitable[Answer]]] = {}
        if tokenizer is not None:
            self._tasks[TaskKind.TEXT_EMBED] = partial(self.embed_text, tokenizer)
        if Modality.IMAGE in model.modalities:
            self._tasks[TaskKind.IMAGE_EMBED] = self.embed_image
            self._tasks |= dict.fromkeys(classifiers, self.rank_labels)

    @property
    def kinds(self) -> frozenset[TaskKind]:
        """The tasks for which everything is there."""
        return frozenset(self._tasks)

    async def answer(self, request: Request) -> Answer:
        """Run one task.

        Raises:
            WireError: the table of the wire says what becomes of it.

        """
        self._check_addressee(request.meta)
        if request.meta.tensor:
            raise BadTensor(
                "This server takes encoded pictures, not tensors: its capabilities name no "
                "tensor_preprocess_id. Send the JPEG, PNG, WebP or AVIF file."
            )
        return await self._tasks[request.kind](request)

    async def embed_text(self, tokenizer: Tokenizer, request: Request) -> Answer:
        """Return the text's vector; as given, or in the prompt on request."""
        _check_text_mime(request.mime)
        truncated = False

        def tokenise() -> NDArray[np.int64]:
            nonlocal truncated
            text = _text(request.payload)
            if is_blank(text):
                raise BadText(_EMPTY)
            texts = [text, PROMPT.format(text)] if request.meta.prompt_template else [text]
            tokens, cut = tokenizer.encode(texts, request.meta.language or "")
            if tokenizer.is_empty(tokens[0]):
                raise BadText(_EMPTY)
            truncated = cut[-1]
            row: NDArray[np.int64] = tokens[-1]
            return row

        outcome = await self._pipeline.run(
            request.caller, Modality.TEXT, request.deadline_at, lambda: PreprocessWork(tokenise)
        )
        answer = self._embedding(request.meta, outcome)
        if truncated:
            answer.meta["truncated"] = "1"
        return answer

    async def embed_image(self, request: Request) -> Answer:
        """Return the picture's vector."""
        outcome = await self._pipeline.run(
            request.caller, Modality.IMAGE, request.deadline_at, lambda: self._look(request)
        )
        return self._embedding(request.meta, outcome)

    async def rank_labels(self, request: Request) -> Answer:
        """Return the labels that fit the picture best, of a label set or of the scenes."""
        query = self._classifiers[request.kind].query(request.meta)
        outcome = await self._pipeline.run(
            request.caller, Modality.IMAGE, request.deadline_at, lambda: self._look(request), query
        )
        if len(outcome.scored) > _MANY_LABELS:
            # Thousands of names and lineages take some milliseconds, which others need not wait.
            return await asyncio.to_thread(self._labels, query, outcome)
        return self._labels(query, outcome)

    def _look(self, request: Request) -> PreprocessWork:
        most_bytes = self._pipeline.decoders.most_bytes
        return look(request.payload, request.mime, self._model.preprocess, most_bytes)

    def _check_addressee(self, meta: RequestMeta) -> None:
        """Refuse what is meant for another model."""
        named = meta.service or ""
        if named in set(Family) - {self._family}:
            raise UnknownService(f"This server is of the family '{self._family}', not '{named}'.")
        check_namespace(meta, self._family)
        space = self._model.embedding_space
        if meta.embedding_space and meta.embedding_space != space:
            raise OtherSpace(
                f"The request demands embedding space {quoted(meta.embedding_space)}, "
                f"this server computes {space}."
            )

    def _embedding(self, meta: RequestMeta, outcome: ItemOutcome) -> Answer:
        dim = outcome.vector.shape[0]
        common = {**_stages(outcome), **self._origin(), "dim": str(dim)}
        if meta.vector is VectorFormat.F32LE:
            raw = results.embedding_f32le(outcome.vector)
            return Answer(raw, results.EMBEDDING_F32LE_MIME, results.EMBEDDING_SCHEMA, common)
        body = results.embedding_v1(outcome.vector, self._model.model_id)
        return Answer(body, results.EMBEDDING_MIME, results.EMBEDDING_SCHEMA, common)

    def _labels(self, query: Query, outcome: ItemOutcome) -> Answer:
        result = query.result(outcome.scored)
        if not result.labels or not all(isfinite(value) for _, value in result.labels):
            raise BackendFailed("The labels could not be compared with this picture.")
        body = results.labels_v1(result.labels, self._model.model_id)
        meta = {
            **_stages(outcome),
            **self._origin(),
            **result.meta,
            "labels_count": str(len(result.labels)),
        }
        return Answer(body, results.LABELS_MIME, results.LABELS_SCHEMA, meta)

    def _origin(self) -> dict[str, str]:
        return {
            "embedding_space": self._model.embedding_space,
            "model_id": self._model.model_id,
        }


def _check_text_mime(mime: str) -> None:
    if mime not in {"", "text/plain", "application/octet-stream"}:
        raise BadText(f"This task takes text/plain, not {quoted(mime)}.")


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise BadText(
            f"The text is not valid UTF-8: byte {error.start} does not belong there."
        ) from error


def _stages(outcome: ItemOutcome) -> dict[str, str]:
    """How long each stage took, in milliseconds."""
    return {
        "decode_ms": f"{outcome.decode_ms:.2f}",
        "queue_ms": f"{outcome.queue_ms:.2f}",
        "model_ms": f"{outcome.model_ms:.2f}",
        "score_ms": f"{outcome.score_ms:.2f}",
    }
