"""The report in a real browser: nothing is broken, cut off, hard to read or fetched, on a phone and on a desk.

Needs Chromium, on Debian `apt-get install chromium`. With COROLLA_SCREENSHOTS=FOLDER the screenshots stay, to be seen.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from corolla.data import ImageCache
from corolla.report import write_report

pytestmark = pytest.mark.slow

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
WIDTHS = {"phone": 360, "desk": 1280}
SCHEMES = {"dark": 0, "light": 1}
LEAST_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3 (AA), for text of ordinary size."""

# Written into a copy of the page: nothing may be fetched, and what the page tries to fetch is remembered.
WATCH = """<head>
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<script>
const fetched = [];
addEventListener("securitypolicyviolation", event => fetched.push(event.blockedURI));
</script>
"""
# It leaves what it found as JSON, in an attribute of the outer page, which the browser's dump of the DOM shows.
PROBE = """
<script>
addEventListener("load", () => {
  const images = [...document.images];
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = rgb => [0.2126, 0.7152, 0.0722].reduce((sum, weight, k) => sum + weight * linear(rgb[k] / 255), 0);
  const ground = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parts(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, [r, g, b, alpha = 1]) =>
      [r, g, b].map((value, k) => alpha * value + (1 - alpha) * below[k]), [255, 255, 255]);
  };
  const contrast = element => {
    const [a, b] = [light(parts(getComputedStyle(element).color)), light(ground(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const texts = [...document.body.querySelectorAll("*")].filter(element => !element.closest("svg, script") &&
    [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
  const wide = [...document.body.querySelectorAll("*")].filter(element => {
    const box = element.getBoundingClientRect();
    return box.width && (box.right > innerWidth + 1 || box.left < -1);
  });
  const name = element => `${element.tagName}.${element.className}: ${element.textContent.slice(0, 40)}`;
  parent.document.documentElement.dataset.found = JSON.stringify({
    width: innerWidth,
    scrollWidth: document.documentElement.scrollWidth,
    images: images.length,
    broken: images.filter(image => !image.complete || !image.naturalWidth).length,
    fetched,
    wide: wide.map(name),
    faint: texts.filter(element => contrast(element) < LEAST_CONTRAST).map(name),
    paper: light(ground(document.body)),
    smallest: Math.min(...texts.map(element => parseFloat(getComputedStyle(element).fontSize))),
  });
});
</script>
</body>
""".replace("LEAST_CONTRAST", str(LEAST_CONTRAST))


@pytest.fixture
def page(scored_run: Path, cache: ImageCache) -> Path:
    return write_report(scored_run, images=cache)


def browse(page: Path, profile: Path, width: int, scheme: str, *arguments: str, height: int = 900) -> str:
    assert BROWSER is not None
    line = [
        BROWSER,
        *QUIET,
        f"--user-data-dir={profile}",
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        f"--window-size={width},{height}",
        *arguments,
        page.as_uri(),
    ]
    done = subprocess.run(line, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def probe(page: Path, profile: Path, width: int, scheme: str) -> dict[str, Any]:
    """What the probe finds in a frame as wide as wanted; a window of the browser has a least width."""
    text = page.read_text(encoding="utf-8")
    assert text.count("<head>") == text.count("</body>") == 1
    probed = html.escape(text.replace("<head>", WATCH).replace("</body>", PROBE))
    outer = profile.parent / "outer.html"
    frame = f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{probed}"></iframe>'
    outer.write_text(f'<!doctype html><meta charset="utf-8"><body style="margin:0">{frame}', encoding="utf-8")
    dumped = browse(outer, profile, max(width, 600), scheme, "--virtual-time-budget=5000", "--dump-dom")
    found = re.search(r'data-found="([^"]*)"', dumped)
    assert found is not None, "the page never came to its end"
    values: dict[str, Any] = json.loads(html.unescape(found[1]))
    return values


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("place", WIDTHS)
def test_the_report_in_a_browser(page: Path, tmp_path: Path, place: str, scheme: str) -> None:
    width = WIDTHS[place]
    found = probe(page, tmp_path / "profile", width, scheme)
    assert found["width"] == width
    assert found["images"] > 50
    assert found["broken"] == 0
    assert found["fetched"] == []
    assert found["wide"] == []
    assert found["scrollWidth"] <= width
    assert found["faint"] == []
    assert found["smallest"] >= 11
    assert found["paper"] > 0.8 if scheme == "light" else found["paper"] < 0.05

    folder = Path(os.environ.get("COROLLA_SCREENSHOTS", tmp_path))
    shot = folder / f"report-{place}-{scheme}.png"
    height = 9000 if place == "phone" else 5500
    browse(page, tmp_path / "profile", width, scheme, f"--screenshot={shot}", height=height)
    with Image.open(shot) as picture:
        assert picture.width == width
        pixels = np.asarray(picture.convert("RGB"))
    assert len(np.unique(pixels[::7, ::7].reshape(-1, 3), axis=0)) > 1000  # pictures are seen, not an empty page


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_the_probe_sees_what_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        '<!doctype html><html><head><meta name="viewport" content="width=device-width"></head><body>'
        '<p style="width:2000px">wide</p><p style="color:#aaa;font-size:8px">faint</p>'
        '<img alt="" src="data:image/png;base64,AAAA"><img alt="" src="https://example.invalid/other.png"></body></html>',
        encoding="utf-8",
    )
    found = probe(page, tmp_path / "profile", 360, "light")
    assert found["broken"] == 2
    assert found["fetched"] == ["https://example.invalid/other.png"]
    assert len(found["wide"]) == 1
    assert len(found["faint"]) == 1
    assert found["scrollWidth"] > 1900
    assert found["smallest"] == 8
