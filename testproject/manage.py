#!/usr/bin/env python
"""Django's command line for this project; works from any directory."""

import os
import sys
from pathlib import Path


def main() -> None:
    """Run the command named on the command line."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    if sys.argv[1:2] == ["runserver"]:
        os.environ.setdefault("DJANGO_DEBUG", "1")  # the admin's style sheets are served

    from django.core.management import execute_from_command_line  # from the new path

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
