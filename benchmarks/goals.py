"""Goals: what a line's medians have to be, judged one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# The medians of a line: contestant, then key.
Medians = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What came of a goal; ``is_met`` None when something it compares with was not measured."""

    goal: str
    found: str
    is_met: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A number that is to be at least, or at most, so much."""

    text: str
    number: Callable[[Medians], float]
    least: float | None = None
    most: float | None = None
    unit: str = ""

    def judge(self, medians: Medians) -> Judgement:
        """Compare; a contestant that is missing leaves the goal open."""
        try:
            number = self.number(medians)
        except (KeyError, ValueError, ZeroDivisionError):
            return Judgement(goal=self.text, found="not measured", is_met=None)
        is_met = (self.least is None or number >= self.least) and (
            self.most is None or number <= self.most
        )
        return Judgement(goal=self.text, found=f"{short(number)}{self.unit}", is_met=is_met)


def ratio(
    key: str, ours: str, other: str | tuple[str, ...], *, is_better_low: bool = False
) -> Callable[[Medians], float]:
    """Return ours by another's; by the best of several, of those that were measured."""
    others = (other,) if isinstance(other, str) else other
    best = min if is_better_low else max

    def number(medians: Medians) -> float:
        return medians[ours][key] / best(medians[one][key] for one in others if one in medians)

    return number


def value(key: str, contestant: str) -> Callable[[Medians], float]:
    """Return one of the medians as it is."""
    return lambda medians: medians[contestant][key]


def short(number: float) -> str:
    """Print about three digits: 0.012, 1.53, 28.4, 1,234."""
    if number == 0:
        return "0"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"
