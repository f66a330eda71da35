"""Take a picture of a page for the documentation, in Chromium, without a window.

python docs/take_screenshot.py runs/photos-A-256-c64-s0/report.html docs/pictures/report.png --width 1200 --height 800
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("page", metavar="PAGE", help="a file, or an address such as http://127.0.0.1:7860")
parser.add_argument("picture", metavar="PICTURE", help="the file to write: .png or .jpg")
parser.add_argument("--width", type=int, default=1366)
parser.add_argument("--height", type=int, default=900)
parser.add_argument("--dark", action="store_true")
parser.add_argument(
    "--wait", metavar="SELECTOR", default="body", help="the picture is taken when this element is there"
)
parser.add_argument("--click", metavar="SELECTOR", action="append", default=[], help="click such elements before")
options = parser.parse_args()

address = options.page if "://" in options.page else Path(options.page).resolve().as_uri()
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
    page = browser.new_page(
        viewport={"width": options.width, "height": options.height}, color_scheme="dark" if options.dark else "light"
    )
    page.set_default_timeout(120_000)
    page.goto(address)
    page.wait_for_selector(options.wait)
    for selector in options.click:
        page.locator(selector).first.click()
        page.wait_for_timeout(4000)  # what is computed, and pictures that are still fading in
    page.screenshot(path=options.picture)
    browser.close()
