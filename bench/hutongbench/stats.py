# SPDX-License-Identifier: Apache-2.0
"""Medians, and how sure they are."""

import random
from statistics import median

RESAMPLES = 4000


def ratio(hutong, tcp):
    """hutong / tcp; two zeros are equal, and nothing can be said of something against zero."""
    if tcp == 0:
        return 1.0 if hutong == 0 else None
    return hutong / tcp


def median_or_none(values):
    """The median of the values that are there."""
    there = [v for v in values if v is not None]
    return median(there) if there else None


def bootstrap_interval(values, level=0.95, seed=1):
    """
    Interval of the median by resampling, with a fixed seed so that one set of values has one interval.
    """
    generator = random.Random(seed)
    medians = sorted(median(generator.choices(values, k=len(values))) for _ in range(RESAMPLES))
    tail = (1 - level) / 2
    return medians[int(RESAMPLES * tail)], medians[int(RESAMPLES * (1 - tail)) - 1]
