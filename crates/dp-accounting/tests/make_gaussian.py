"""Makes golden_gaussian.json: true epsilons of Gaussian noise, to 60 digits of mpmath: python make_gaussian.py

A row is [q, sigma, steps, delta, epsilon of removing, epsilon of adding]; with q 1 they are the same, with q below 1 there is one step.
The cases are random, from a written seed, with the extremes that once went wrong before them.
"""

import json
import random
from pathlib import Path

from mpmath import erfc, exp, log, mp, mpf, sqrt

mp.dps = 60


def phi(x):
    return erfc(-x / sqrt(mpf(2))) / 2


def whole(mu, e):
    return phi(mu / 2 - e / mu) - exp(e) * phi(-mu / 2 - e / mu)


def remove(q, s, e):
    t = mpf(1) / 2 + s * s * log((exp(e) - 1 + q) / q)
    return (1 - q) * phi(-t / s) + q * phi((1 - t) / s) - exp(e) * phi(-t / s)


def add(q, s, e):
    if exp(-e) - 1 + q <= 0:
        return mpf(0)
    t = mpf(1) / 2 + s * s * log((exp(-e) - 1 + q) / q)
    return phi(t / s) - exp(e) * ((1 - q) * phi(t / s) + q * phi((t - 1) / s))


def epsilon(of, delta):
    if of(mpf(0)) <= delta:
        return mpf(0)
    high = mpf(1)
    while of(high) > delta:
        high *= 2
    low = mpf(0)
    for _ in range(90):
        middle = (low + high) / 2
        if of(middle) > delta:
            low = middle
        else:
            high = middle
    return high


def row(q, sigma, steps, delta):
    q_, s, d = mpf(q), mpf(sigma), mpf(delta)
    if q == 1:
        mu = sqrt(mpf(steps)) / s
        both = epsilon(lambda e: whole(mu, e), d)
        ends = (both, both)
    else:
        ends = (epsilon(lambda e: remove(q_, s, e), d), epsilon(lambda e: add(q_, s, e), d))
    return [q, sigma, steps, delta, *(float(e) for e in ends)]


def main():
    rows = [row(*case) for case in [
        (1, 0.03, 1, 1e-20), (1, 0.03, 1, 1e-181), (1, 0.01, 1, 1e-5), (1, 0.05, 1, 1e-5), (1, 1.0, 1, 5e-324),
        (1, 100.0, 1, 1e-320), (1, 3.0, 7, 1e-308), (1, 1e6, 1, 1e-12), (1, 1e4, 1000000, 1e-10),
        (0.01, 0.05, 1, 1e-5), (0.999999, 0.04, 1, 1e-9), (1e-6, 0.1, 1, 1e-8)]]
    chance = random.Random(14)
    for _ in range(300):
        sigma = float(f"{10 ** chance.uniform(-1.6, 3):.4g}")
        steps = round(10 ** chance.uniform(0, 4.5)) if sigma > 0.3 else round(10 ** chance.uniform(0, 1))
        rows.append(row(1, sigma, steps, float(f"{10 ** chance.uniform(-18, -0.5):.4g}")))
    for _ in range(150):
        q = float(f"{10 ** chance.uniform(-5, 0):.4g}") if chance.random() < 0.7 else float(f"{1 - 10 ** chance.uniform(-6, -0.5):.8g}")
        sigma = float(f"{10 ** chance.uniform(-1.5, 2):.4g}")
        rows.append(row(q, sigma, 1, float(f"{q * 10 ** chance.uniform(-16, -0.3):.4g}")))
    text = json.dumps({"source": "make_gaussian.py, mpmath 1.4.1", "rows": rows}).replace("], [", "],\n[")
    (Path(__file__).parent / "golden_gaussian.json").write_text(text + "\n", encoding="utf-8")


main()
