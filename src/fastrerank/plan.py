"""How one model is run on one machine, and which ways of running it there are."""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .cores import usable_cores
from .errors import InvalidRequestError, MissingExtraError
from .manifest import Manifest
from .processor import Processor, this_processor

ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
RUNTIMES = (ONNXRUNTIME, OPENVINO)

# Tokens of one batch where a batch is one run of the model: enough to fill the matrix kernels, few
# enough to stay in the cache and to share out evenly.
_TOKEN_BUDGET = {ONNXRUNTIME: 384, OPENVINO: 768}
# Where every pair is a run of its own a batch is only what a thread takes at once.
_TOKEN_BUDGET_SINGLE = 96
# openvino prepares its kernels anew for every shape, so lengths are rounded to few of them.
_LENGTH_MULTIPLE = {ONNXRUNTIME: 1, OPENVINO: 16}
_EXACTNESS = ("int8", "bf16", "fp32")  # the least exact first


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How pairs are scored: which weights of the bundle, in which arithmetic, by which runtime.

    `threads` batches of up to `token_budget` tokens run at once. In each, pairs are padded to the
    next multiple of `length_multiple` from the longest on.
    """

    runtime: str
    precision: str
    weights: str
    threads: int
    token_budget: int
    length_multiple: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A plan, and why it was taken, in words."""

    plan: Plan
    reason: str


def plans(manifest: Manifest, processor: Processor | None = None) -> list[Plan]:
    """Return the default plan of every runtime and precision that this machine offers for a bundle.

    The order is that of preference. ONNX Runtime computes in the precision of the stored weights,
    openvino in fp32 and, where the processor has it, in bf16, with the most exact ones.
    """
    processor = processor or this_processor()
    found = [_plan(manifest, ONNXRUNTIME, p, p) for p in _stored(manifest)]
    if _has_openvino():
        weights = "fp32" if "fp32" in manifest.precisions else found[0].weights
        faster = [_plan(manifest, OPENVINO, "bf16", weights)] if processor.has_bf16 else []
        exact = [_plan(manifest, OPENVINO, "fp32", weights)]
        if "int8" not in manifest.precisions:
            found += [*exact, *faster]  # bf16 would change the scores
        elif processor.has_amx:
            # bf16 is closer to the original than int8, and faster on matrix units.
            found = [*faster, *found, *exact]
        else:
            found += [*faster, *exact]
    return found


def choose(
    manifest: Manifest,
    *,
    runtime: str = "auto",
    precision: str = "auto",
    tuned: Sequence[Plan] = (),
    processor: Processor | None = None,
) -> Choice:
    """Return the plan for a runtime and a precision; "auto" leaves a choice open.

    A plan that was measured on this machine goes before the defaults.

    :raises InvalidRequestError: if there is none; the message lists what there is.
    :raises MissingExtraError: if it needs a runtime that is not installed.
    """
    processor = processor or this_processor()
    offered = plans(manifest, processor)
    by_default = _first(offered, runtime, precision)
    measured = _first(tuned, runtime, precision)
    if measured and any(_same_way(measured, plan) for plan in offered):
        return Choice(plan=measured, reason="measured here by `fastrerank tune`")
    if by_default is None:
        raise _not_offered(offered, runtime, precision, processor)
    if (runtime, precision) != ("auto", "auto"):
        return Choice(plan=by_default, reason="asked for")
    return Choice(plan=by_default, reason=_reason(by_default, offered))


def _has_openvino() -> bool:
    # Any directory of that name on the path is found too, as a namespace without an origin.
    spec = importlib.util.find_spec("openvino")
    return spec is not None and spec.origin is not None


def may_replace(default: Plan, plan: Plan) -> bool:
    """Return whether "auto" may take `plan` for the default: its arithmetic is no less exact."""
    return _EXACTNESS.index(plan.precision) >= _EXACTNESS.index(default.precision)


def _stored(manifest: Manifest) -> Iterator[str]:
    """Yield the precisions of the bundle, the fastest first."""
    if "int8" in manifest.precisions:
        yield "int8"
    yield from (name for name in manifest.precisions if name != "int8")


def _plan(manifest: Manifest, runtime: str, precision: str, weights: str) -> Plan:
    single = runs_single(manifest, runtime, weights)
    return Plan(
        runtime=runtime,
        precision=precision,
        weights=weights,
        threads=usable_cores(),
        token_budget=_TOKEN_BUDGET_SINGLE if single else _TOKEN_BUDGET[runtime],
        length_multiple=_LENGTH_MULTIPLE[runtime],
    )


def runs_single(manifest: Manifest, runtime: str, weights: str) -> bool:
    """Return whether every pair needs its own run, because its score would depend on the batch."""
    return runtime == ONNXRUNTIME and not manifest.precisions[weights].batch_invariant


def _first(offered: Sequence[Plan], runtime: str, precision: str) -> Plan | None:
    matches = (
        plan
        for plan in offered
        if runtime in ("auto", plan.runtime) and precision in ("auto", plan.precision)
    )
    return next(matches, None)


def _same_way(plan: Plan, other: Plan) -> bool:
    fields = ("runtime", "precision", "weights")
    return all(getattr(plan, name) == getattr(other, name) for name in fields)


def _not_offered(
    offered: Sequence[Plan], runtime: str, precision: str, processor: Processor
) -> InvalidRequestError | MissingExtraError:
    if runtime not in ("auto", *RUNTIMES):
        return InvalidRequestError(
            f'runtime is {runtime!r}; there is: {", ".join(RUNTIMES)} (or "auto")', param="runtime"
        )
    if not any(plan.runtime == OPENVINO for plan in offered):
        if runtime == OPENVINO:
            return MissingExtraError.for_extra("openvino", f"runtime {runtime!r}")
        if runtime == "auto" and (
            precision == "fp32" or (precision == "bf16" and processor.has_bf16)
        ):
            return MissingExtraError.for_extra("openvino", f"precision {precision!r} here")
    there = "; ".join(
        f"{', '.join(plan.precision for plan in offered if plan.runtime == name)} ({name})"
        for name in dict.fromkeys(plan.runtime for plan in offered)
    )
    asked = f" with runtime {runtime!r}" if runtime != "auto" else ""
    return InvalidRequestError(
        f'precision is {precision!r}{asked}; there is: {there} (or "auto")', param="precision"
    )


def _reason(plan: Plan, offered: Sequence[Plan]) -> str:
    if plan.runtime == OPENVINO:
        return "openvino is installed, and the processor has matrix units for bf16"
    if not any(other.runtime == OPENVINO for other in offered):
        return "openvino is not installed"
    if plan.precision == "fp32":
        return "openvino gains little in fp32, and bf16 would change the scores of fp32 weights"
    return "openvino is slower on a processor without matrix units (AMX)"
