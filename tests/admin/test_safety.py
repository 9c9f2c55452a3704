"""Looking changes nothing, and what is looked at cannot do anything to the page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest
from django.contrib.admin.models import LogEntry

from django_openworkflow.admin.payloads import highlighted
from django_openworkflow.models import WorkerProcess, WorkflowRun
from django_openworkflow.names import MAX_NAME_BYTES
from tests.admin.addresses import bulk, on_run, skeleton, url, url_of
from tests.admin.places import Scene, deeds, pages, scene
from tests.admin.test_rights import snapshot

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db

HOSTILE: Final = [
    "<script>alert(1)</script>",
    "<ScRiPt>alert(1)</sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg/onload=alert(1)//",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    "` onmouseover=`alert(1)",
    "</script><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</pre><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</svg><script>alert(1)</script>",
    "</details></section></div></form><h1>gone</h1>",
    "<!--",
    "--><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "<a href=javascript:alert(1)>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content=0;url=//evil.example/>",
    "{{ 7|add:7 }}{% now 'Y' %}",
    "%(count)s %s {0}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u202e<script>\u2066alert(1)</script>\u2028",
    '\\"><script>alert(1)</script>',
    "<x\tonclick =alert(1)>",
]


def opened(client: Client, there: Scene) -> dict[str, str]:
    found = {
        name: client.get(address).content.decode() for name, (_, address) in pages(there).items()
    }
    question = client.post(url("changelist"), bulk(there.run, there.failed, index="0"))
    return {**found, "question": question.content.decode()}


def shapes(found: dict[str, str]) -> dict[str, list[str]]:
    return {name: skeleton(markup) for name, markup in found.items()}


@pytest.mark.parametrize("texts", [HOSTILE[start::4] for start in range(4)], ids="abcd")
def test_hostile_text_changes_no_markup(operator: Client, texts: list[str]) -> None:
    expected = shapes(opened(operator, scene("harmless")))
    WorkflowRun._base_manager.all().delete()
    WorkerProcess._base_manager.all().delete()
    found = opened(operator, scene(" ".join(texts)))
    for name, shape in shapes(found).items():
        assert shape == expected[name], name
        assert "<script>alert" not in found[name], name
        assert 'href="javascript:' not in found[name], name


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_coloured_without_markup_of_its_own(text: str) -> None:
    plain = skeleton(highlighted({"x": ["x", {"inner": "x"}]}))
    assert skeleton(highlighted({text: [text, {"inner": text}]})) == plain


def test_what_is_typed_comes_back_escaped(operator: Client) -> None:
    hostile = " ".join(text for text in HOSTILE if text.isprintable())[:MAX_NAME_BYTES]
    for _right, address, data in deeds(scene()).values():
        # A reason that is too long, and JSON that is none, bring the form back.
        back = [
            operator.post(
                address, {**dict.fromkeys(data, text), **kept(data), "reason": text * 200}
            )
            for text in ("harmless" * 2, hostile)
        ]
        assert [response.status_code for response in back] == [200, 200]
        plain, escaped = (skeleton(response.content.decode()) for response in back)
        assert escaped == plain


def kept(data: dict[str, Any]) -> dict[str, Any]:
    """Return what the list needs to know the action."""
    return {key: data[key] for key in ("action", "_selected_action", "post") if key in data}


def test_looking_changes_nothing(operator: Client) -> None:
    there = scene()
    before = snapshot()
    for name, (_right, address) in pages(there).items():
        assert operator.get(address).status_code == 200, name
        assert operator.head(address).status_code == 200, name
    for name, (_right, address, data) in deeds(there).items():
        # Even with everything that a POST would bring.
        assert operator.get(address, data).status_code in {200, 302}, name
    assert snapshot() == before
    assert not LogEntry.objects.exists()


_INLINE: Final = re.compile(
    r"<script(?![^>]*\bsrc=)[^>]*>|<style|\sstyle=|\son\w+=|javascript:", re.IGNORECASE
)


def test_no_page_has_script_or_style_in_it(operator: Client) -> None:
    for name, markup in opened(operator, scene("harmless")).items():
        found = [match for match in _INLINE.findall(markup) if "application/json" not in match]
        assert not found, name


ELSEWHERE: Final = [
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example/",
    "javascript:alert(1)",
    "/admin/logout/",
]


@pytest.mark.parametrize("address", ELSEWHERE)
@pytest.mark.parametrize("name", ["next", "back", "_changelist_filters", "return_to"])
def test_no_action_leads_away(operator: Client, address: str, name: str) -> None:
    there = scene()
    query: dict[str, Any] = {name: address}
    for _right, where, data in deeds(there).values():
        response = operator.post(where, {**data, **query}, query_params=query)
        if response.status_code == 302:
            assert url_of(response).startswith(url("changelist"))
            assert "evil" not in url_of(response).partition("?")[0]
    page = operator.get(on_run("cancel_run", there.run), query).content.decode()
    assert f'href="{address}' not in page


def test_filters_come_back_as_a_query_of_the_list_alone(operator: Client) -> None:
    there = scene()
    query = {"back": "list", "_changelist_filters": "status=running&q=//evil.example/"}
    response = operator.post(on_run("cancel_run", there.run), {}, query_params=query)
    assert url_of(response) == url("changelist") + "?status=running&q=%2F%2Fevil.example%2F"
