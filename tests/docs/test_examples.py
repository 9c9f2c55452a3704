"""Every Python example of the documentation runs, and says the truth about its values.

The blocks of a page are executed in order in one namespace, with these conventions:

* A first line such as ``# orders/workflows.py`` makes the block that module; later blocks can
  import from it. Settings files are the exception: they are executed and that is all.
* ``expression  # -> value`` must have that ``repr``, and a top-level
  ``statement  # raises Name: message`` must raise that. ``<id>`` stands for any UUID. The comment
  may follow on a line of its own, and go on in indented comment lines.
* ``<!-- no-run -->`` before a block: it is only compiled.
* ``<!-- check`` … ``-->`` holds more lines to execute, which readers do not need to see.
* Test cases, and functions that begin with ``test_``, are run as tests once the page is through.

Given on every page: ``request`` (a request by the user ``eva``), and the package ``orders`` with
the module ``orders.services`` (``validate``, ``reserve_stock``, ``charge``, ``ship``). A
``result()`` that has to wait lets a worker work, and time pass quickly.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import sys
import time
import types
import unittest
from collections.abc import Iterator
from datetime import timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib.auth import get_user_model
from django.test import RequestFactory

from django_openworkflow import signals, waiting
from django_openworkflow.registry import registry
from django_openworkflow.testing import WorkflowWorker, advance, reset_clock, run_until_idle
from tests import syntax
from tests.docs.pages import Block, blocks, page_name, pages

_UUID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_EXPECTED: Final = re.compile(r"  # (->|raises) (.+)")

# Blocks of pages that cannot carry the comment, by a line of theirs.
COMPILED_ONLY: Final = {
    "README.md": "handle.result(timeout=60)  # the output, or WorkflowFailed",  # names outcomes
}

# Fixtures that tests on a page may ask for.
GIVEN: Final = {"workflow_worker": WorkflowWorker()}

PAGES: Final = [page for page in pages() if any(b.language == "python" for b in blocks(page))]


class ExampleModule(types.ModuleType):
    """A module that a page shows the file of."""


class QuickTime:
    """Takes the place of the clock of ``result()``: in a pause a worker works, and time flies."""

    def __init__(self) -> None:
        self._passed_seconds = 0.0
        self._leap_seconds = 1.0

    def monotonic(self) -> float:
        return time.monotonic() + self._passed_seconds

    def sleep(self, _wake: object, seconds: float) -> None:
        is_first = seconds <= waiting._FIRST_PAUSE_SECONDS
        self._leap_seconds = 1.0 if is_first else 2 * self._leap_seconds
        self._passed_seconds += self._leap_seconds
        run_until_idle()
        advance(timedelta(seconds=self._leap_seconds))


def services() -> types.ModuleType:
    """What a shop does; the README imports it too."""
    module = types.ModuleType("orders.services")
    vars(module).update(
        validate=lambda order_id: {"id": order_id, "total": 1999},
        reserve_stock=lambda order: {"reserved": order["id"]},
        charge=lambda order: {"payment": f"payment-{order['id']}"},
        ship=lambda order: f"tracking-{order['id']}",
    )
    return module


@pytest.fixture(autouse=True)
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what an example leaves behind: definitions, modules, receivers, the clock."""
    receivers = {name: signal for name, signal in vars(signals).items() if name.startswith("run_")}
    before = {name: signal.receivers[:] for name, signal in receivers.items()}
    known = set(sys.modules)
    package = types.ModuleType("orders")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "orders", package)
    monkeypatch.setitem(sys.modules, "orders.services", services())
    quick = QuickTime()
    monkeypatch.setattr(waiting, "monotonic", quick.monotonic)
    monkeypatch.setattr(waiting, "_sleep", quick.sleep)
    with registry.isolated():
        yield
    for name, signal in receivers.items():
        signal.receivers = before[name]
        signal.sender_receivers_cache.clear()
    for name in set(sys.modules) - known:
        if isinstance(sys.modules[name], ExampleModule):
            del sys.modules[name]
    reset_clock()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_the_examples_of_a_page_run(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "example", "request": a_request()}
    for block in blocks(page):
        if block.language in {"python", "check"}:
            execute(block, names)
    run_tests(names)


def a_request() -> Any:
    request = RequestFactory().post("/")
    request.user = get_user_model().objects.create_user("eva")
    return request


def execute(block: Block, names: dict[str, Any]) -> None:
    tree = syntax.parse(block.text, filename=str(block))
    ast.increment_lineno(tree, block.line)
    if not block.runs or is_compiled_only(block):
        compiled(tree, str(block))
        return
    if block.module and not block.is_settings:
        module = ExampleModule(block.module)
        sys.modules[block.module] = module
        exec(compiled(tree, str(block)), vars(module))  # noqa: S102 - our own pages
        names.update(
            (name, value) for name, value in vars(module).items() if not name.startswith("__")
        )
        return
    checked = Checks(block).visit(tree)
    names["_check"] = check
    for statement in ast.fix_missing_locations(checked).body:
        code = compiled(ast.Module([statement], []), str(block))
        run_statement(code, names, *promised_error(statement, block))


def compiled(tree: ast.Module, where: str) -> types.CodeType:
    """Compile without this module's own ``from __future__`` imports."""
    return compile(tree, where, "exec", dont_inherit=True)


def is_compiled_only(block: Block) -> bool:
    line = COMPILED_ONLY.get(block.page)
    return line is not None and line in block.text


class Checks(ast.NodeTransformer):
    """Turns ``expression  # -> value`` into a check, however deep it stands."""

    def __init__(self, block: Block) -> None:
        self._block = block

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        comment = comment_on(node, self._block)
        if comment is None or comment[0] != "->":
            return node
        where = f"{self._block.page}, line {node.lineno}"
        arguments = [node.value, ast.Constant(comment[1]), ast.Constant(where)]
        return ast.copy_location(
            ast.Expr(ast.Call(ast.Name("_check", ast.Load()), arguments, [])), node
        )


def comment_on(node: ast.stmt, block: Block) -> tuple[str, str] | None:
    """Return what the comment on a statement, or right below it, promises."""
    lines = block.text.splitlines()[(node.end_lineno or node.lineno) - block.line - 1 :]
    first, *below = lines
    if not _EXPECTED.search(first) and below and _EXPECTED.match("  " + below[0].lstrip()):
        first, *below = "  " + below[0].lstrip(), *below[1:]
    if not (found := _EXPECTED.search(first)):
        return None
    more = takewhile(lambda line: line.lstrip().startswith("#   "), below)
    return found[1], " ".join([found[2], *(line.lstrip(" #") for line in more)])


def check(value: object, expected: str, where: str) -> None:
    assert_matches(repr(value), expected, where)


def promised_error(statement: ast.stmt, block: Block) -> tuple[str | None, str]:
    comment = comment_on(statement, block)
    where = f"{block.page}, line {statement.lineno}"
    return (comment[1] if comment and comment[0] == "raises" else None), where


def run_statement(
    code: types.CodeType, names: dict[str, Any], expected: str | None, where: str
) -> None:
    try:
        exec(code, names)  # noqa: S102 - our own pages
    except Exception as error:
        if expected is None:
            raise
        assert_matches(f"{type(error).__name__}: {error}", expected, where)
    else:
        assert expected is None, f"{where}: nothing was raised"


def assert_matches(actual: str, expected: str, where: str) -> None:
    pattern = re.escape(expected.strip()).replace("<id>", _UUID)
    assert re.fullmatch(pattern, actual, re.DOTALL), f"{where}: {actual!r}, not {expected!r}"


def run_tests(names: dict[str, Any]) -> None:
    """Run what a page shows as tests."""
    loader = unittest.TestLoader()
    suite = unittest.TestSuite()
    for name, value in list(names.items()):
        if isinstance(value, type) and issubclass(value, unittest.TestCase):
            suite.addTests(loader.loadTestsFromTestCase(value))
        elif name.startswith("test_") and callable(value):
            value(*[GIVEN[fixture] for fixture in inspect.signature(value).parameters])
            reset_clock()
    shown = io.StringIO()
    result = unittest.TextTestRunner(stream=shown, warnings="error").run(suite)
    assert result.wasSuccessful(), shown.getvalue()


# --- the tools above ------------------------------------------------------------------------------


def test_few_blocks_are_only_compiled() -> None:
    found = [block for page in PAGES for block in blocks(page) if block.language == "python"]
    skipped = [str(block) for block in found if not block.runs or is_compiled_only(block)]
    assert len(skipped) <= len(found) // 10, skipped


def test_every_exception_is_still_needed() -> None:
    for name, line in COMPILED_ONLY.items():
        page = next(page for page in PAGES if page_name(page) == name)
        assert any(line in block.text for block in blocks(page))
