"""What a run is made of."""

from dataclasses import dataclass

EXIT_AFTER = 3  # the layers of the small model


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The numbers of a run, written beside its checkpoints.

    A step's lists are shared out to the workers in parts, and a part's pairs computed by ``batch``,
    of like length: always as many, for oneDNN compiles its products anew for each size. A GPU wants
    more of both. The teacher's logit is the bi-encoder's scaled cosine and ``lexical`` times BM25's
    share; where a former release teaches too, ``released`` times its logit is added, and the sum
    is multiplied by ``softness``.
    """

    seed: int = 1
    lists: int = 16  # a step
    part: int = 4  # lists that a worker takes at once
    batch: int = 16  # pairs
    steps: int = 1_000_000  # at which the run ends
    rate: float = 1.2e-4  # of learning
    head_rate: float = 5e-4  # of classifier, pooler and early exit
    weight_decay: float = 0.01  # of matrices
    warmup: int = 200  # steps in which the rate rises
    decay_from: int = 0  # step from which the rate falls, to nearly nothing at `steps`; 0: never
    supervise: tuple[int, int] = (300, 1200)  # steps between which supervision is phased in
    supervision: float = 0.15  # weight of the cross-entropy of the positive
    lexical: float = 6.0
    released: float = 2.5
    softness: float = 0.5
    similarity: float = 0.0  # what the bi-encoder's cosine is multiplied by and added to the logit
    exit_weight: float = 0.3  # of the early exit's loss
    max_lengths: tuple[int, ...] = (96, 96, 96, 160)  # tokens of a pair, one drawn for each step
    average: float = 0.998  # what the running average of the weights keeps of itself a step
    save_seconds: float = 300.0  # between checkpoints
    validate_steps: int = 500  # between validations
    validate_per_set: int = 40  # queries

    def __post_init__(self) -> None:
        """Refuse numbers that no run can be made of."""
        if self.lists % max(self.part, 1):
            raise ValueError(f"lists is {self.lists}: pass a multiple of part, {self.part}")
        for name in ("lists", "part", "batch", "steps", "warmup"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: pass at least 1")

    def rate_factor_at(self, step: int) -> float:
        """Return what the learning rates are multiplied by at ``step``, in 0-1."""
        factor = min(1.0, (step + 1) / self.warmup)
        if self.decay_from and step >= self.decay_from:
            left = (self.steps - step) / (self.steps - self.decay_from)
            factor *= max(left, 0.02)
        return factor

    def supervision_at(self, step: int) -> float:
        """Return the weight of supervision at ``step``."""
        start, end = self.supervise
        return self.supervision * min(max((step - start) / max(end - start, 1), 0.0), 1.0)
