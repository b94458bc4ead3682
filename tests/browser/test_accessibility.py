"""axe-core finds nothing serious, whatever the colours, the language and what is open."""

import pytest
from axe_playwright_python.sync_playwright import Axe

GRAVE = {"serious", "critical"}


def violations(page):
    found = Axe().run(page).response["violations"]
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"][:3]])
        for each in found
        if each["impact"] in GRAVE
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "name",
    ["report", "sweep_report", "comparison_page", "sweep_comparison_page", "transcripts_page"],
)
def test_a_page(opened, request, name, scheme):
    here = opened(request.getfixturevalue(name), color_scheme=scheme)
    for summary in here.page.locator("summary").all():
        summary.click()  # the manifest, too
    assert violations(here.page) == []


@pytest.mark.parametrize("name", ["report", "comparison_page"])
def test_a_page_in_chinese_with_a_sample_open_and_a_player(opened, request, name):
    here = opened(request.getfixturevalue(name), locale="zh-CN")
    here.page.locator(".play").first.click()
    here.page.locator(".row-id").first.click()
    assert violations(here.page) == []


def test_axe_would_have_found_a_fault(opened, report):
    here = opened(report)
    here.page.evaluate(
        "document.querySelector('#search').closest('label').replaceWith(byId('search'))"
    )
    assert "label" in [rule for rule, _ in violations(here.page)]
