"""Django signals about runs, sent after commit; a receiver that raises changes nothing.

The sender is ``WorkflowRun``; all carry ``run``, and ``run_canceled`` has ``reason``, ``actor``
and ``source`` as well.
(The word "signal" alone means a workflow signal everywhere else in this package.)
"""

from __future__ import annotations

from django.dispatch import Signal

run_started = Signal()
run_completed = Signal()
run_failed = Signal()
run_canceled = Signal()
run_retried = Signal()
