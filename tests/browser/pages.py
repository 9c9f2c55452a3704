"""The admin's pages as somebody sees them in a browser, and what they complain about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Locator, Page, Response

    from django_openworkflow.models import WorkflowRun

PATIENCE_SECONDS: Final = 30
RUNS: Final = "admin:django_openworkflow_workflowrun"
# What is Django's own on our pages: where a page is, and the search field of a list.
DJANGOS: Final = [[".breadcrumbs"], ["#changelist-search"]]


def url(name: str, *args: object) -> str:
    """Return the address of a page about runs."""
    return reverse(f"{RUNS}_{name}", args=args)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a page is looked at."""

    scheme: Literal["light", "dark"] = "light"
    width: int = 1280
    height: int = 900

    def __str__(self) -> str:
        return f"{self.scheme}-{self.width}"


DESKTOP: Final = Look()
LOOKS: Final = (
    DESKTOP,
    Look(scheme="dark"),
    Look(width=390, height=800),
    Look(scheme="dark", width=390, height=800),
)
THOROUGH: Final = {LOOKS[0], LOOKS[3]}  # every colour and every width at least once


@dataclass
class Visitor:
    """Somebody with a browser, who notes every complaint of the console and of the server."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Begin to note."""
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("response", self._answered)

    def _heard(self, message: ConsoleMessage) -> None:
        is_icon = message.location["url"].endswith("/favicon.ico")  # the demo has none
        if message.type in {"error", "warning"} and not is_icon:
            self.complaints.append(f"console: {message.text} {message.location}")

    def _answered(self, response: Response) -> None:
        if response.status >= 500:
            self.complaints.append(f"{response.status}: {response.url}")

    # --- going about ----------------------------------------------------------------------------

    def visit(self, address: str) -> Page:
        """Open a page."""
        answer = self.page.goto(address)
        assert answer is not None
        assert answer.status == 200, (answer.status, address)
        return self.page

    def see(self, run: WorkflowRun | Any) -> Page:
        """Open the page of a run."""
        return self.visit(url("change", run.pk if hasattr(run, "pk") else run.id))

    def press(self, text: str) -> None:
        """Press the button or the link with this text, of which there is one."""
        with self.page.expect_navigation():
            self.page.locator("button, a, input").get_by_text(text, exact=True).click()

    def choose_action(self, label: str) -> None:
        """Do something with the rows that are selected."""
        self.page.locator("select[name=action]").first.select_option(label=label)
        with self.page.expect_navigation():
            self.page.get_by_role("button", name="Go").first.click()

    def submit(self) -> None:
        """Answer the form of the page, and see the next one."""
        with self.page.expect_navigation():
            self.page.locator("#ow-submit").click()

    def messages(self) -> list[str]:
        """Return what the last action told."""
        return self.page.locator(".messagelist li").all_inner_texts()

    def badge(self) -> Locator:
        """Return where the run of the page stands."""
        return self.page.locator("#ow-summary .ow-badge").first

    def wait_for_badge(self, text: str) -> None:
        """Return once the page says so, by itself."""
        self.badge().get_by_text(text, exact=True).wait_for(timeout=PATIENCE_SECONDS * 1000)

    def steps(self) -> list[str]:
        """Return the rows of the timeline, the run's own left out."""
        names = self.page.locator("#ow-timeline tbody tr:not(.ow-run-row) th a:first-of-type")
        return names.all_inner_texts()

    def wait_for_steps(self, *names: str) -> None:
        """Return once the timeline has these rows, by itself."""
        last = self.page.locator("#ow-timeline tbody tr:not(.ow-run-row)").nth(len(names) - 1)
        last.wait_for(timeout=PATIENCE_SECONDS * 1000)
        assert self.steps() == list(names)

    # --- judging --------------------------------------------------------------------------------

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        wide: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return wide

    def barriers(self) -> list[str]:
        """Return what axe finds, but for what is Django's own on the page."""
        found = Axe().run(self.page, context={"exclude": DJANGOS}).response["violations"]
        return [
            f"{violation['id']} ({violation['impact']}): {node['html'][:200]}"
            for violation in found
            for node in violation["nodes"]
        ]
