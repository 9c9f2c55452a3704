"""No pair of operations deadlocks, or leaves what neither of the two serial orders leaves.

A fifth of all pairs in every run of the suite, by ``RACE_SEED``; all of them in the scorecard's K7.
"""

from __future__ import annotations

import pytest

from tests.races.conftest import SEED
from tests.races.pairs import PAIRS, play_pair
from tests.races.rivals import race

pytestmark = race

_SHARES = 5
_GROUPS = 4


@pytest.mark.parametrize("group", range(_GROUPS))
def test_every_schedule_of_a_pair_is_as_one_of_the_two_orders(group: int) -> None:
    for one, other in PAIRS[SEED % _SHARES :: _SHARES][group::_GROUPS]:
        assert play_pair(one, other) >= 2
