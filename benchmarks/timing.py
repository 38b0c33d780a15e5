"""One interleaved run: A B C ... C B A, again and again, so that a slow minute hits all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from .subjects import Label, Subject

Samples: TypeAlias = dict[Label, list[float]]
"""Microseconds per request, one figure for each round."""

WARM_UP = 30
LEAD_IN = 4


@dataclass(frozen=True)
class Extent:
    """How much is timed.

    A round's figure is the median of many short blocks: another process then spoils some blocks,
    and not the round.

    :param passes: in a round, each there and back.
    :param block: requests of each subject in one direction of a pass.
    :param seconds: no round begins after this time.
    """

    rounds: int
    passes: int
    block: int
    seconds: float = 900.0


def interleave(
    subjects: Sequence[Subject], extent: Extent, progress: Callable[[str], None]
) -> Samples:
    """Time every subject in turn, A B C ... C B A, in every pass of every round."""
    for subject in subjects:
        subject.time(max(1, int(WARM_UP * subject.weight)))
    gc.collect()
    gc.freeze()
    samples: Samples = {subject.label: [] for subject in subjects}
    start = time.monotonic()
    for number in range(1, extent.rounds + 1):
        blocks: Samples = {label: [] for label in samples}
        for _ in range(extent.passes):
            for subject in (*subjects, *reversed(subjects)):
                blocks[subject.label].append(_time(subject, extent.block))
        for label, figures in blocks.items():
            samples[label].append(median(figures))
        progress(f"round {number} of {extent.rounds}")
        if time.monotonic() - start > extent.seconds:
            progress(f"stopped after {extent.seconds:.0f} s")
            break
    return samples


def _time(subject: Subject, block: int) -> float:
    count = max(1, int(block * subject.weight))
    # The subject before has left the processor's caches full of its own.
    lead_in = subject.prepare(int(LEAD_IN * subject.weight))
    timed = subject.prepare(count)
    lead_in()
    return timed() / count * 1e6


def cost(samples: Samples, label: Label) -> float:
    """Return the microseconds one request takes: median of the rounds."""
    return median(samples[label])


def added(samples: Samples, label: Label) -> float:
    """Return the microseconds a subject takes more than its bare app: median of the rounds."""
    return median(_differences(samples, label))


def ratio_of_costs(samples: Samples, label: Label, other: Label) -> float:
    """Return how many times as long as the other a subject takes: median of the rounds."""
    pairs = zip(samples[label], samples[other], strict=True)
    return median(one / another for one, another in pairs)


def ratio_of_added(samples: Samples, label: Label, other: Label) -> float:
    """Return how many times the other's added cost a subject adds: median of the rounds."""
    pairs = zip(_differences(samples, label), _differences(samples, other), strict=True)
    return median(one / another for one, another in pairs)


def _differences(samples: Samples, label: Label) -> list[float]:
    pairs = zip(samples[label], samples[label.bare], strict=True)
    return [one - base for one, base in pairs]
