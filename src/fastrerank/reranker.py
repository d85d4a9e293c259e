"""From request to response: the whole path, in order."""

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .activation import ranking, ranking_logits, relevance
from .bundle import open_bundle
from .collate import check_inputs
from .errors import ClosedError, InvalidRequestError
from .plan import choose
from .plan_store import stored_plans
from .prepared import Prepared, prepare, prepared_pairs
from .request import (
    Document,
    RerankRequest,
    Truncate,
    as_request,
    check_count,
    check_flag,
    check_iterable,
    check_model,
    check_text,
)
from .response import RerankResponse, RerankResult, Usage
from .score_cache import ScoreCache
from .scoring import PairScorer, ScoredPairs
from .session import open_session
from .tokenization import Pair, PairTokenizer
from .workers import MOST_THREADS, Workers

logger = logging.getLogger("fastrerank")


class Reranker:
    """Reranks documents for a query with a local cross-encoder, in this process, on the CPU.

    `model` is the path of a bundle, or the name of a bundled model, all English: "default" (None),
    "medium" or "small", each about twice as fast as the one before (a directory of that name is
    "./small").

    `runtime` is "onnxruntime", or "openvino" where that is installed. `precision` is one that the
    bundle holds; openvino computes in "fp32" and, where the processor has it, in "bf16". "auto" is
    what `fastrerank tune` found fastest here, or a default; `runtime_reason` says why. `threads`
    bounds the threads that score at once, by default the cores that this process may use.
    `max_length` caps the tokens of a pair that are read, by default at the model's own limit: the
    latency knob for long documents. A document of more than two `window` tokens is scored by its
    best window, by default where the bundle says so. With windows, `max_length` may exceed the
    model's limit; a window of at least that limit reads every document whole that the model can
    take at once. `score_cache` is the number of scores, of windows where there are some, that are
    kept for when their pairs come again; texts are not kept.

    One reranker serves many threads at once. It can be pickled (and loads again) and used after a
    fork. `close()`, or a `with` block, frees the model.

    :raises InvalidRequestError: if an argument is wrong or names what is not there.
    :raises BundleError: if the bundle is missing, changed, or of a newer format.
    :raises MissingExtraError: if the runtime is not installed.
    """

    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        *,
        precision: str = "auto",
        runtime: str = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        window: int | None = None,
        score_cache: int | None = None,
    ) -> None:
        check_model(model)
        threads = check_count("threads", threads, most=MOST_THREADS)
        max_length = check_count("max_length", max_length)
        window = check_count("window", window)
        score_cache = check_count("score_cache", score_cache, least=0)
        bundle = open_bundle(model)
        self._again = functools.partial(
            type(self),
            bundle.reference,
            precision=precision,
            runtime=runtime,
            threads=threads,
            max_length=max_length,
            window=window,
            score_cache=score_cache,
        )
        manifest = bundle.manifest
        check_inputs(manifest.inputs)
        self.manifest = manifest
        self.model_name = manifest.name
        choice = choose(
            manifest, runtime=runtime, precision=precision, tuned=stored_plans(manifest)
        )
        plan = replace(choice.plan, threads=threads or choice.plan.threads)
        self.precision, self.runtime, self.threads = plan.precision, plan.runtime, plan.threads
        self.runtime_reason = choice.reason
        self.max_length = max_length or manifest.max_length
        self.window = window or manifest.window
        if self.max_length > manifest.max_length and self.window is None:
            raise InvalidRequestError(
                f"max_length is {max_length}, the model reads at most {manifest.max_length} at a"
                " time: pass window=256, say, to score a longer document by its best part",
                param="max_length",
            )
        self._tokenizer = PairTokenizer(
            bundle.verified(manifest.tokenizer),
            manifest.template,
            self.max_length,
            window=self.window,
            model_length=manifest.max_length,
        )
        self._workers = Workers(self.threads)
        self._scorer: PairScorer | None = PairScorer(
            manifest=manifest,
            plan=plan,
            tokenizer=self._tokenizer,
            session=open_session(bundle, plan),
            workers=self._workers,
            cache=ScoreCache(score_cache or 0),
        )
        logger.info(
            "loaded %s (%s) from %s, runtime %s: %s",
            self.model_name,
            self.precision,
            bundle.manifest_path,
            self.runtime,
            self.runtime_reason,
        )

    def rerank(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        top_n: int | None = None,
        return_documents: bool = False,
        rank_fields: Sequence[str] | None = None,
        max_tokens_per_doc: int | None = None,
        truncate: Truncate = "end",
        instruction: str | None = None,
    ) -> RerankResponse:
        """Return the documents ranked by their relevance to the query, best first.

        Documents are strings, or mappings scored by their `text`; with `rank_fields`, by those
        fields, one `field: value` a line. `top_n` limits the results, `return_documents` echoes
        each document in its result. A document longer than `max_tokens_per_doc`, or than the query
        leaves room for, loses its end or its start, as `truncate` says, and is listed in
        `truncated`; with "none" it is an error. A query beyond its share loses its end. The
        `instruction` is read together with the query (the bundled models were not trained on any).
        With `rank_fields`, the fields before the last are read with each window of a long document
        if they take at most half of one. Of a text the first 500,000 characters are looked at, or
        50 a token that may be read, where that is more (with "start" the last ones).
        Every document is scored by its own pair alone, empty ones too.

        :raises InvalidRequestError: if an argument is wrong; the message names it and the way out.
        :raises InferenceError: if the runtime fails, or a logit is not finite.
        :raises ClosedError: if the reranker is closed.
        """
        request = RerankRequest(
            query=query,
            documents=documents,
            top_n=top_n,
            return_documents=return_documents,
            rank_fields=rank_fields,
            max_tokens_per_doc=max_tokens_per_doc,
            truncate=truncate,
            instruction=instruction,
        )
        return self._answer([prepare(request, self._tokenizer)])[0]

    def rerank_many(
        self, requests: Iterable[RerankRequest | Mapping[str, Any]]
    ) -> list[RerankResponse]:
        """Return one response a request, each equal to what `rerank` answers to it alone.

        A request is a RerankRequest, or a mapping of `query`, `documents` and the options of
        `rerank`. The pairs of all requests are scored together.

        :raises InvalidRequestError: if a request is wrong. Nothing is scored then, but where a
            document does not fit and its request says truncate="none": what came before it may be.
        :raises InferenceError: if the runtime fails, or a logit is not finite.
        :raises ClosedError: if the reranker is closed.
        """
        checked = [
            as_request(request, f"requests[{position}]")
            for position, request in enumerate(check_iterable("requests", requests, "requests"))
        ]
        return self._answer(
            [prepare(r, self._tokenizer, f"requests[{i}].") for i, r in enumerate(checked)]
        )

    def score(self, pairs: Iterable[tuple[str, str]], *, raw: bool = False) -> NDArray[np.float32]:
        """Return the relevance of each (query, document) pair, float32 [pairs], in input order.

        Relevance lies in 0-1; with `raw`, the logits whose sigmoid it is (of a model with two
        labels, their difference). Texts that do not fit lose their end.

        :raises InvalidRequestError: if an element is no pair of strings, or `raw` no bool.
        :raises InferenceError: if the runtime fails, or a logit is not finite.
        :raises ClosedError: if the reranker is closed.
        """
        check_flag("raw", raw)
        logits = self._logits(self._scored(prepared_pairs(pairs, self._tokenizer)))
        return (logits if raw else relevance(logits)).astype(np.float32)

    def count_tokens(self, texts: Iterable[str]) -> list[int]:
        """Return the number of tokens of each text alone, without special tokens, uncut.

        :raises InvalidRequestError: if an element is no string.
        :raises ClosedError: if the reranker is closed.
        """
        self._open_scorer()
        checked = list(check_iterable("texts", texts, "strings"))
        for position, text in enumerate(checked):
            check_text(f"texts[{position}]", text)
        return self._tokenizer.count_tokens(checked)

    def handle(self, api: str, request: Mapping[str, Any]) -> tuple[int, Any]:
        """Return HTTP status and JSON body with which rerank API `api` answers `request`.

        `api` is one of "together", "generic", "portkey", "contextual", "cohere", ...: see
        `fastrerank.api`. Bad requests are answered with the API's own error; nothing is raised.
        """
        from .api import handle  # only programs that speak an API pay for them

        return handle(self, api, request)

    def close(self) -> None:
        """Free the model and stop the threads; later calls raise ClosedError."""
        self._workers.close()
        self._scorer = None

    def __enter__(self) -> "Reranker":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return self._again, ()

    def __repr__(self) -> str:
        return (
            f"Reranker({self.model_name!r}, precision={self.precision!r}, runtime={self.runtime!r},"
            f" threads={self.threads}, max_length={self.max_length}, window={self.window})"
        )

    def _answer(self, prepared: list[Prepared]) -> list[RerankResponse]:
        scored = self._scored(pair for request in prepared for pair in request.pairs())
        logits = self._logits(scored)
        responses, start = [], 0
        for request in prepared:
            part = start + np.array(request.pair_of, dtype=np.int64)
            responses.append(self._response(request, scored, logits, part))
            start += len(request.texts)
        return responses

    def _scored(self, pairs: Iterable[Pair]) -> ScoredPairs:
        return self._open_scorer().score(pairs)

    def _open_scorer(self) -> PairScorer:
        if self._scorer is None:
            raise ClosedError("the reranker is closed: create another one")
        return self._scorer

    def _logits(self, scored: ScoredPairs) -> NDArray[np.float32]:
        return ranking_logits(scored.outputs, self.manifest.label_column)

    def _response(
        self,
        prepared: Prepared,
        scored: ScoredPairs,
        logits: NDArray[np.float32],
        part: NDArray[np.int64],
    ) -> RerankResponse:
        scores = relevance(logits[part])
        results = [
            RerankResult(
                index=index,
                relevance_score=float(scores[index]),
                document=prepared.echoes[index],
            )
            for index in ranking(scores, prepared.request.top_n).tolist()
        ]
        return RerankResponse(
            model=self.model_name,
            results=results,
            truncated=np.flatnonzero(scored.truncated[part]).tolist(),
            query_truncated=prepared.query.truncated,
            usage=Usage(prompt_tokens=int(scored.lengths[part].sum())),
        )
