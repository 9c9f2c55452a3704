"""Random histories: every verb of the store and of people, against the reference.

Hypothesis draws what happens next; after each rule the rows must be what the reference says, and
the invariants must hold. A failure is printed as the history that shows it.
"""

from __future__ import annotations

from tests.model.ending import Ending
from tests.model.waiting import Waiting
from tests.model.working import Working
from tests.model.zombies import Zombies


class RunMachine(Working, Waiting, Ending, Zombies):
    """All rules together: anything may happen at any moment."""
