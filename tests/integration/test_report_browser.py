"""The report in a real headless Chromium: what a person sees, by mouse, keyboard and phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Purpose, StageNode
from llmzero.report import render
from tests.fakes.simulated_search import simulated
from tests.tools.debian import program

LIMIT = 2_000_000
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # As root Chromium has no sandbox of its own; the page is ours.
        chromium = playwright.chromium.launch(
            executable_path=program("chromium"), args=["--no-sandbox"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def search() -> tuple[TrainingSearch, list[StageNode]]:
    return simulated(stages=12)


@pytest.fixture(scope="module")
def file(search: tuple[TrainingSearch, list[StageNode]], tmp_path_factory: object) -> Path:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"  # type: ignore[attr-defined]
    path.write_text(render(*search), encoding="utf-8")
    return path


def opened(browser: Browser, file: Path, **context: object) -> tuple[Page, list[str]]:
    """The page, and what went wrong on it: errors, and requests beyond the file itself."""
    page = browser.new_context(**context).new_page()  # type: ignore[arg-type]
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on(
        "request",
        lambda asked: wrong.append(asked.url) if asked.url != file.as_uri() else None,
    )
    page.goto(file.as_uri())
    return page, wrong


def trained(search: tuple[TrainingSearch, list[StageNode]]) -> list[StageNode]:
    return [n for n in search[1] if n.spec.purpose is Purpose.TRAIN]


def test_a_click_on_a_stage_shows_its_curves_and_why(
    browser: Browser, file: Path, search: tuple[TrainingSearch, list[StageNode]]
) -> None:
    page, wrong = opened(browser, file)
    assert page.title() == "demo · LLMZero"
    assert page.locator(".node").count() == len(trained(search))
    best = search[0].status.best
    assert best is not None
    assert f"Stage {best.path} " in page.locator("#stage").inner_text(), "the best at first"
    other = next(n for n in trained(search) if n.spec.changes and n.name != best.node)
    page.locator(f'.node[data-name="{other.name}"]').click()
    shown = page.locator("#stage").inner_text()
    assert f"Stage {other.spec.path} " in shown
    assert other.spec.provenance.rationale in shown
    assert all(change.name in shown for change in other.spec.changes)
    assert page.locator("#stage figure.chart svg .line.other").count() > 0, "against the best"
    assert page.locator("#timelines figure").count() == len(search[0].spec.parameters)
    assert "winner" in page.locator("#heldout").inner_text()
    assert wrong == []


def test_the_tree_is_walked_with_the_keyboard(
    browser: Browser, file: Path, search: tuple[TrainingSearch, list[StageNode]]
) -> None:
    page, _ = opened(browser, file)
    page.keyboard.press("Tab")
    at = page.evaluate("document.activeElement.dataset.name")
    first = min(trained(search), key=lambda n: [int(p) for p in n.spec.path.split("-")])
    assert at == first.name
    page.keyboard.press("ArrowDown")
    below = page.evaluate("document.activeElement.dataset.name")
    page.keyboard.press("Enter")
    assert page.locator(".node.chosen").get_attribute("data-name") == below != first.name
    inner = next(n for n in trained(search) if n.spec.parent is not None)
    page.locator(f'.node[data-name="{inner.spec.parent}"]').focus()
    page.keyboard.press("ArrowRight")
    child = page.evaluate("document.activeElement.dataset.name")
    assert next(n for n in trained(search) if n.name == child).spec.parent == inner.spec.parent
    assert page.locator(".node.chosen").get_attribute("data-name") == child
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.dataset.name") == inner.spec.parent


def test_it_fits_a_phone_and_follows_light_and_dark(browser: Browser, file: Path) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        page, wrong = opened(browser, file, viewport=PHONE, color_scheme=scheme, has_touch=True)
        wide = page.evaluate("document.scrollingElement.scrollWidth")
        assert wide <= PHONE["width"], "only the tree and the tables scroll sideways"
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.locator(".node").first.tap()
        assert wrong == []
    assert len(grounds) == 2


def test_two_hundred_stages_stay_below_two_megabytes(browser: Browser, tmp_path: Path) -> None:
    search, nodes = simulated(stages=200)
    stages = [n for n in nodes if n.spec.purpose is Purpose.TRAIN]
    assert len(stages) >= 200
    big = tmp_path / "big.html"
    big.write_text(render(search, nodes), encoding="utf-8")
    assert big.stat().st_size < LIMIT
    page, wrong = opened(browser, big)
    assert page.locator(".node").count() == len(stages)
    assert wrong == []


def test_text_of_the_search_never_becomes_markup(
    browser: Browser, search: tuple[TrainingSearch, list[StageNode]], tmp_path: Path
) -> None:
    hostile = "</script><img src=x onerror=\"document.title='taken'\">"
    target = trained(search)[0]
    provenance = target.spec.provenance.with_(rationale=hostile)
    changed = target.with_(spec=target.spec.with_(provenance=provenance))
    file = tmp_path / "hostile.html"
    nodes = [changed if n.name == target.name else n for n in search[1]]
    file.write_text(render(search[0], nodes), encoding="utf-8")
    page, wrong = opened(browser, file)
    page.locator(f'.node[data-name="{target.name}"]').click()
    assert hostile in page.locator("#stage").inner_text()
    assert page.title() == "demo · LLMZero"
    assert wrong == []
