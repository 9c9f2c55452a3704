"""``runworker`` and the tools around runs."""
