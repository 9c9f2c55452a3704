"""The tables keep the invariants, whoever writes: each constraint is shown to bite.

Writes here go around the package: raw SQL, ``QuerySet.update`` and ``bulk_create``, on the real
database, because another client of the same tables goes around it too.
"""
