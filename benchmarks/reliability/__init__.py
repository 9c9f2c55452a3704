"""Reliability that can be run: one script for each line of the scorecard.

``python -m benchmarks.reliability K1 --seed 1 --size small`` checks one line, without names all of
them; ``make reliability`` does that at full size and keeps the table in ``docs/reliability.md``.
"""
