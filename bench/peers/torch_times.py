"""Timing for the programs that measure PyTorch: seconds of repeated calls after a warm-up, as bench/src/measure.ts takes them."""
import time


def times_of(f, seconds, warmup=2, at_least=5, at_most=200):
    for _ in range(warmup):
        f()
    times, end = [], time.perf_counter() + seconds
    while len(times) < at_least or (time.perf_counter() < end and len(times) < at_most):
        t = time.perf_counter()
        f()
        times.append(time.perf_counter() - t)
    return times
