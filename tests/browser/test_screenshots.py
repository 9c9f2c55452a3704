"""The pictures of the documentation: ``make screenshots`` takes them anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from testproject.office import gallery
from tests.browser.pages import Look, url

if TYPE_CHECKING:
    from tests.browser.conftest import Enter

_LIGHT: Final = Look(width=1440)
_DARK: Final = Look(scheme="dark", width=1440)
_MOBILE: Final = Look(width=390, height=844)
_MOBILE_DARK: Final = Look(scheme="dark", width=390, height=844)
_MOST_BYTES: Final = 1_500_000


def pictures() -> dict[str, tuple[Look, str]]:
    """Hang the gallery, and return what is to be seen by the names of the files."""
    onboarding, failed, *_ = gallery.hang()
    return {
        "list": (_LIGHT, url("changelist")),
        "list-dark": (_DARK, url("changelist") + "?status=failed"),
        "list-mobile": (_MOBILE, url("changelist")),
        "overview": (_LIGHT, url("overview")),
        "run": (_LIGHT, url("change", onboarding.pk)),
        "run-dark": (_DARK, url("change", onboarding.pk)),
        "run-mobile-dark": (_MOBILE_DARK, url("change", onboarding.pk)),
        "run-failed": (_LIGHT, url("change", failed.pk)),
        "start-run": (_LIGHT, url("start_run")),
    }


def test_the_pictures_are_taken_and_small(enter: Enter, tmp_path: Path) -> None:
    folder = Path(os.environ.get("OPENWORKFLOW_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    visitors = {look: enter(look) for look in (_LIGHT, _DARK, _MOBILE, _MOBILE_DARK)}
    for name, (look, address) in pictures().items():
        visitors[look].visit(address).screenshot(path=folder / f"{name}.png")
    visitor = visitors[_LIGHT]
    page = visitor.visit(url("changelist"))
    page.locator("#action-toggle").check()
    visitor.choose_action("Cancel selected workflow runs")
    page.screenshot(path=folder / "cancel-selected.png")
    assert sum(picture.stat().st_size for picture in folder.glob("*.png")) < _MOST_BYTES
