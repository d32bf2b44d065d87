"""Reports in headless Chromium: no error, no request, sorting, choosing and browsing by keyboard, accessible, printable.

Run with `pytest -m browser`. Needs Debian's chromium and chromium-driver, and npm for axe-core (kept in no repository; where
npm cannot fetch it, that test is skipped and says so). With PADPRINT_SCREENSHOTS=FOLDER the pages are kept as pictures.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

import nets
from helpers import noise
from measurements import made_channels, made_layer, made_measurement
from padprint import check, halo, inspect, report
from padprint.results.channels import ChannelTest
from padprint.results.comparison import Comparison
from padprint.results.measurement import Estimate
from padprint.studies import formation_page as formations
from padprint.studies import properties_page as properties
from padprint.studies import reliability_page as reliabilities
from padprint.studies import scores
from padprint.studies.formation_config import FormationConfig
from padprint.studies.formation_report import document
from padprint.studies.scores import Score
from studied import made_formation, made_reliability, made_swaps

selenium = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
AXE = "axe-core@4.10.3"
AXE_RUN = """const done = arguments[arguments.length - 1]; axe.run().then((r) => done(r.violations.map(
  (v) => v.id + ' (' + v.impact + '): ' + v.nodes.map((n) => n.html).join(' | '))))"""
KINDS = (
    "page",
    "comparison_page",
    "halo_page",
    "inspection_page",
    "study_page",
    "formation_page",
    "properties_page",
    "first_page",
)
HOSTILE = '<script>alert("x")</script>\n\' " onmouseover=alert(1) $x$ ' + "a" * 280


UNFOLD = "for (const one of document.querySelectorAll('details')) one.open = true"
CUT = """return [...document.querySelectorAll('main *')].filter((one) => { const box = one.getBoundingClientRect();
  return box.width > 0 && box.right > innerWidth + 1 && !one.closest('.scroll, svg'); }).map((one) => one.outerHTML.slice(0, 99))"""
"""What reaches beyond the window's right edge, but for the insides of tables that scroll."""
SIDEWAYS = """return [...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth + 1)
  .map((one) => one.getAttribute('aria-label'))"""
"""Tables that scroll sideways."""
SIDE_BY_SIDE = """const tops = [...document.querySelectorAll('main figure')].map((one) => one.getBoundingClientRect())
  .filter((box) => box.width > 0).map((box) => Math.round(box.top)); return tops.filter((top, i) => tops.indexOf(top) !== i)"""
"""Tops of figures that stand beside another."""


@pytest.fixture(scope="module")
def first_page(tmp_path_factory) -> Path:
    return (
        check(nets.stride_two(), noise(3, 64), size=32).save(tmp_path_factory.mktemp("first"), report=True)
        / "report.html"
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    layers = [
        made_layer("stem", snr=Estimate(0.5, 0.4, 0.6)),
        made_layer("layer10", (30, 14, 14), snr=Estimate(12.0, 11, 13), rim=(1, 1, 1, 1), channels=underflown(30)),
        made_layer(HOSTILE, (130, 100, 100), snr=Estimate(2.0, 1.0, 3.0)),
    ]
    return report.write(made_measurement(*layers), tmp_path_factory.mktemp("report") / "report.html")


def underflown(count: int) -> ChannelTest:
    """Channels of which the first has a tail probability that rounds to zero."""
    found = made_channels(count)
    found.q[0] = 0.0
    return found


def thin():
    """A rim of one cell on a map of a hundred: drawn folded."""
    return made_layer("thin", (3, 100, 100), rim=(1, 1, 1, 1), stride=(2, 2), relative=Estimate(0.3, 0.25, 0.35))


@pytest.fixture(scope="module")
def comparison_page(tmp_path_factory) -> Path:
    several = Comparison({name: made_measurement(thin(), made_layer("layer4")) for name in ("own", "reflect", HOSTILE)})
    return report.write(several, tmp_path_factory.mktemp("report") / "comparison.html")


@pytest.fixture(scope="module")
def inspection_page(tmp_path_factory) -> Path:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
    )
    return report.write(inspect(net, 33), tmp_path_factory.mktemp("report") / "inspection.html", name=HOSTILE)


@pytest.fixture(scope="module")
def halo_page(tmp_path_factory) -> Path:
    """Zeros and reflection around a network of three strides, on six scenes."""
    found = halo(nets.stride_two(), noise(6, 160), tile=64, tolerance=0.1, padding=["own", "reflect"], name=HOSTILE)
    return report.write(found, tmp_path_factory.mktemp("report") / "halo.html")


@pytest.fixture(scope="module")
def study_page(tmp_path_factory) -> Path:
    def ppp(trial):
        raise AssertionError("nothing is tried")

    pair = (Score("PPP-SNR", ppp, "us", "position"), Score("PosENet", ppp, "them", "position"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "SCORES", pair)
        page = reliabilities.reliability_page(made_reliability())
    return report.publish(page, tmp_path_factory.mktemp("report") / "reliability.html")


@pytest.fixture(scope="module")
def formation_page(tmp_path_factory) -> Path:
    table = made_formation()
    page = formations.formation_page(table, document(table, FormationConfig()))
    return report.publish(page, tmp_path_factory.mktemp("report") / "formation.html")


@pytest.fixture(scope="module")
def properties_page(tmp_path_factory) -> Path:
    return report.publish(
        properties.properties_page({"swap": made_swaps()}), tmp_path_factory.mktemp("report") / "p.html"
    )


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[selenium.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromium-driver are not installed")
    options = selenium.ChromeOptions()
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}"]:
        options.add_argument(flag)
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield window
    window.quit()


def opened(browser, page: Path, width: int = 1280) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get("about:blank")
    browser.get_log("performance")  # drops what the browser's own first tab asked for
    browser.get(page.as_uri())


def requests(browser) -> list[str]:
    entries = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if not url.startswith("data:")]


def column(browser, index: int, table: int = 0) -> list[str]:
    rows = browser.find_elements(By.CSS_SELECTOR, "table.sortable")[table].find_elements(By.CSS_SELECTOR, "tbody tr")
    return [row.find_elements(By.TAG_NAME, "td")[index].text for row in rows]


def shown(browser) -> list[str]:
    return [one.get_attribute("id") for one in browser.find_elements(By.CSS_SELECTOR, "article") if one.is_displayed()]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("which", KINDS)
def test_a_page_opens_without_error_or_request_and_fits(browser, request, which: str, width: int) -> None:
    file = request.getfixturevalue(which)
    opened(browser, file, width)
    assert browser.get_log("browser") == []
    assert requests(browser) == [file.as_uri()]
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    browser.execute_script(UNFOLD)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.execute_script(CUT) == []
    if width == 390:
        assert browser.execute_script(SIDE_BY_SIDE) == []
        assert browser.execute_script(SIDEWAYS) == []
    broken = "return [...document.images].filter((i) => !i.complete || i.naturalWidth === 0).length"
    assert browser.execute_script(broken) == 0
    keep(browser, f"{which}-{width}")


def keep(browser, name: str) -> None:
    folder = os.environ.get("PADPRINT_SCREENSHOTS")
    if folder:
        whole = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(whole["data"]))


def test_a_table_sorts_by_keyboard_and_says_so(browser, page: Path) -> None:
    opened(browser, page)
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    heading = browser.find_elements(By.CSS_SELECTOR, "table.sortable th")[3]
    heading.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert [text.split()[0] for text in column(browser, 3)] == ["0.500", "2.00", "12.0"]  # by number, not by letter
    heading.find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert heading.get_attribute("aria-sort") == "descending"
    assert [text.split()[0] for text in column(browser, 3)] == ["12.0", "2.00", "0.500"]
    other = browser.find_elements(By.CSS_SELECTOR, "table.sortable th")[0]
    other.find_element(By.TAG_NAME, "button").click()
    assert heading.get_attribute("aria-sort") == "none"
    assert column(browser, 0)[1:] == ["layer10", "stem"]


def test_the_chooser_shows_one_layer(browser, page: Path) -> None:
    opened(browser, page)
    assert shown(browser) == ["layer-0"]
    Select(browser.find_element(By.ID, "layer")).select_by_value("layer-1")
    assert shown(browser) == ["layer-1"]
    assert browser.find_element(By.CSS_SELECTOR, "#layer-1 figure").is_displayed()
    browser.find_element(By.ID, "layer").send_keys(Keys.ARROW_UP)
    assert shown(browser) == ["layer-0"]


def test_a_map_tells_value_cell_and_pixels_by_pointer_and_by_keyboard(browser, page: Path) -> None:
    opened(browser, page)
    drawing = browser.find_element(By.CSS_SELECTOR, "#layer-0 figure.map svg")
    said = browser.find_element(By.CSS_SELECTOR, "#layer-0 figure.map output")
    assert said.text == ""
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", drawing)
    ActionChains(browser).move_to_element(drawing).perform()
    assert re.match(r"row \d+, column \d+ \(px \d+ to \d+, \d+ to \d+\): [\d.]+", said.text)
    for key in (Keys.TAB, Keys.SHIFT + Keys.TAB):  # the browser then shows focus as of the keyboard
        browser.find_element(By.TAG_NAME, "body").send_keys(key)
    browser.execute_script("arguments[0].focus({focusVisible: true})", drawing)
    drawing.send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    size = made_layer("stem").pattern.square().mean(0).sqrt()
    assert said.text == f"row 1, column 1 (px 32 to 64, 16 to 32): {float(f'{float(size[1, 1]):.3g}'):g}"


def test_terms_are_explained_on_hover_and_on_focus_and_can_be_dismissed(browser, page: Path) -> None:
    opened(browser, page)
    term = browser.find_element(By.CSS_SELECTOR, "main a.term")
    tip = term.find_element(By.CSS_SELECTOR, ".tip")
    assert not tip.is_displayed()
    ActionChains(browser).move_to_element(term).perform()
    assert tip.is_displayed()
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()
    term.click()
    assert browser.find_element(By.ID, "glossary").get_attribute("open")


def test_the_channel_browser_sorts_filters_and_draws(browser, page: Path) -> None:
    opened(browser, page)
    Select(browser.find_element(By.ID, "layer")).select_by_value("layer-1")
    channels = made_layer("layer10", (30, 14, 14)).channels
    browser.find_element(By.CSS_SELECTOR, "#layer-1 .channels-fold summary").click()

    def tiles() -> list[str]:
        return [one.text.split("\n")[0] for one in browser.find_elements(By.CSS_SELECTOR, "#layer-1 .channels li")]

    assert len(tiles()) == 30
    assert tiles()[0] == "channel 0, top"
    first = browser.find_element(By.CSS_SELECTOR, "#layer-1 .channels li").text
    assert "q < 1e-16" in first  # never "q 0"
    Select(browser.find_element(By.ID, "channels-1-0-side")).select_by_visible_text("left")
    assert len(tiles()) == channels.by_side()["left"]
    assert all(one.endswith(", left") for one in tiles())
    status = browser.find_element(By.CSS_SELECTOR, "#layer-1 [role=status]")
    assert status.text.startswith(f"{len(tiles())} of 30 shown; hidden: ")
    hidden = [int(part.split()[0]) for part in status.text.split("hidden: ")[1].split(", ")]
    assert sum(hidden) == 30 - len(tiles())
    assert "15 not called" in status.text
    drawn = (
        "const c = document.querySelector('#layer-1 canvas'); const d = c.getContext('2d').getImageData(0, 0, c.width, "
        "c.height).data; return [c.width, c.height, new Set(d).size]"
    )
    width, height, colours = browser.execute_script(drawn)
    assert (width, height) == (5, 5)  # two cells at each border, and a band of one between, on both axes
    assert colours > 10


def test_a_thin_rim_has_a_sixth_of_the_map_at_each_side(browser, comparison_page: Path) -> None:
    """One cell of a hundred: 1 % of the crop, and well seen on the folded axis."""
    opened(browser, comparison_page)
    Select(browser.find_element(By.ID, "layer")).select_by_visible_text("1 thin")
    sizes = (
        "const svg = document.querySelector('figure.map[data-map^=row-0] svg'); const box = (one) => one.getBoundingClientRect(); "
        "return [box(svg.querySelector('.inner')).left - box(svg.querySelector('.under')).left, box(svg.querySelector('.under')).width]"
    )
    rim, whole = browser.execute_script(sizes)
    assert rim > whole / 7
    assert rim > 15


def test_maps_and_charts_take_the_pages_colours(browser, page: Path) -> None:
    """The same picture, light and dark: what is drawn in ink is dark on light and light on dark."""
    opened(browser, page)
    browser.execute_script(UNFOLD)
    colours = (
        "const of = (one, key) => getComputedStyle(one)[key]; "
        "const text = document.querySelector('svg.figure text'), map = document.querySelector('figure.map .cells rect'); "
        "return [of(text, 'fill'), of(map, 'fill'), of(document.body, 'backgroundColor')]"
    )
    found = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        found.append([sum(map(int, re.findall(r"\d+", one)[:3])) for one in browser.execute_script(colours)])
    (ink, mark, paper), (dark_ink, dark_mark, dark_paper) = found
    assert ink < mark < paper
    assert dark_paper < dark_mark < dark_ink


def test_dark_and_light_and_print(browser, page: Path) -> None:
    opened(browser, page)
    background = "return getComputedStyle(document.body).backgroundColor"
    media = "Emulation.setEmulatedMedia"
    browser.execute_cdp_cmd(media, {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    assert browser.execute_script(background) == "rgb(20, 23, 27)"
    keep(browser, "dark")
    browser.find_element(By.ID, "theme").click()
    assert browser.execute_script(background) == "rgb(255, 255, 255)"
    browser.execute_cdp_cmd(media, {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "light"}]})
    assert shown(browser) == ["layer-0", "layer-1", "layer-2"]
    assert not browser.find_element(By.ID, "theme").is_displayed()


def test_print_holds_channels_of_every_layer_and_the_settings(browser, page: Path) -> None:
    opened(browser, page)
    tiles = "return [...document.querySelectorAll('article')].map((a) => a.querySelectorAll('canvas').length)"
    assert browser.execute_script(tiles)[1:] == [0, 0]
    browser.execute_cdp_cmd("Page.printToPDF", {})
    assert all(browser.execute_script(tiles))
    assert browser.execute_script("return document.querySelector('details').open")


@pytest.fixture(scope="module")
def axe(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    done = npm and subprocess.run([npm, "pack", AXE], cwd=folder, capture_output=True, check=False, timeout=120)
    archives = list(folder.glob("*.tgz"))
    if not done or not archives:
        pytest.skip(f"npm cannot fetch {AXE}")
    with tarfile.open(archives[0]) as archive:
        source = archive.extractfile("package/axe.min.js")
        assert source is not None
        return source.read().decode()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", KINDS)
def test_axe_finds_no_fault(browser, request, axe: str, which: str, scheme: str) -> None:
    opened(browser, request.getfixturevalue(which))
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    keep(browser, f"{which}-{scheme}")
    browser.execute_script(UNFOLD)
    browser.execute_script(axe)
    assert browser.execute_async_script(AXE_RUN) == []
