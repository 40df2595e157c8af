"""What the panel looks like, compared with pictures under ``snapshots/``, in both themes.

`make snapshots` makes anew those that are not like the panel any more; look at what has changed before
you commit it. What is shown is a recording that is the same everywhere, at one moment of it; letters
are drawn with a font that the tests bring along.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import likeness
import matplotlib
import pytest
import recorded_run
from PIL import Image, ImageChops, ImageFilter, ImageOps
from playwright.sync_api import Browser, Page

from conftest import ROOT, SHOTS, bare_page
from fanlight import standalone

SNAPSHOTS = Path(__file__).parent / "snapshots"
RENEW = os.environ.get("FANLIGHT_SNAPSHOTS") == "renew"
STILL = 6.0  # seconds: what has not changed for so long, however often one looks, is all there is
LOOKS = 5
PATIENCE = 60.0

FONTS = (
    ("Shown", "100 599", "DejaVuSans"),
    ("Shown", "600 900", "DejaVuSans-Bold"),
    ("Shown Mono", "100 900", "DejaVuSansMono"),
)
STYLE = """
.fl-Plain {
    --jp-ui-font-family: 'Shown' !important;
    --jp-code-font-family: 'Shown Mono' !important;
    --jp-ui-icon-font-family: 'Shown' !important;
}
* { caret-color: transparent !important; }
"""

# Draws a scene of the recording: with the player, or as a panel that watches the run while it goes on.
DRAW = """
async ({ moment, player, view }) => {
    const host = document.getElementById('fanlight-host');
    const stage = (window.stage ??= {});
    stage.shown?.dispose();
    host.replaceChildren();
    if (player || !stage.source) {
        await Promise.all([...document.fonts].map(font => font.load()));
        const text = atob(document.getElementById('fanlight-blob').textContent);
        const bytes = Uint8Array.from(text, c => c.charCodeAt(0));
        stage.shown = await FanlightStandalone.showReplay(host, bytes, 'run.fanlight');
        stage.source = stage.shown.source;
        stage.source.player.seek(moment);
        if (player) return;
        stage.shown.dispose();
    }
    const { source } = stage;
    const cells = { 'cell-2': '[2] parts = [read_array.remote(i) for i in range(16)]' };
    stage.shown = FanlightStandalone.show(
        host,
        {
            kind: 'live',
            controls: true,
            store: source.store,
            ask: query => source.ask(query),
            command: async () => undefined,
            watch: () => undefined,
            retryNow: () => undefined,
            dispose: () => undefined
        },
        { title: 'lesson.ipynb', cellTitle: id => cells[id] ?? `[${id.slice(5)}] f.remote()` }
    );
    stage.shown.model.update(view);
}
"""

# Whether everything has come that is asked for or loaded.
COMPLETE = """
moment => {
    const all = selector => [...document.querySelectorAll(selector)];
    const { source } = window.stage;
    const canvas = root => [...root.querySelectorAll('*')].some(
        part => part.localName === 'canvas' || (part.shadowRoot && canvas(part.shadowRoot)));
    return Math.abs((source.store.get().data?.time ?? 0) - moment) < 0.06 &&
        document.fonts.status === 'loaded' &&
        all('.fl-Section, .fl-Player').length > 0 &&
        all('.fl-Chart-host').every(host => host.dataset.ready === 'true' && canvas(host)) &&
        all('.fl-Time').every(part => part.dataset.loaded === 'true') &&
        all('.fl-Board').every(board => board.dataset.painter === 'flat' && board.dataset.view) &&
        !document.body.innerText.includes('Asking the runtime');
}
"""
FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass(frozen=True)
class Scene:
    """A part of the panel at some size."""

    width: int
    height: int
    player: bool = False
    open: tuple[str, ...] = ()  # sections that are not folded; no other is shown, unless `all`
    all: bool = False
    click: str = ""  # what is chosen, to see its details

    def arguments(self) -> dict[str, Any]:
        others = [name for name in SECTIONS if name not in self.open]
        return {
            "moment": recorded_run.START + recorded_run.MOMENT,
            "player": self.player,
            "view": {"folded": others} if self.all else {"folded": [], "hidden": others},
        }


SECTIONS = (
    "progress", "graph", "timeline", "errors", "store", "workers", "running", "actors", "gpus", "logs",
)  # fmt: skip
SCENES = {
    "sidebar": Scene(300, 1500, open=("progress", "graph", "timeline", "errors"), all=True),
    "work": Scene(760, 1230, open=("progress", "graph", "timeline")),
    "meters": Scene(760, 1170, open=("store", "gpus")),
    "tables": Scene(760, 1230, open=("errors", "workers", "running", "actors", "logs")),
    "recording": Scene(1000, 700, player=True, click="[data-section=errors] [role=row] >> nth=1"),
}
THEMES: dict[str, Any] = {
    "light": {"color_scheme": "light", "contrast": "no-preference"},
    "dark": {"color_scheme": "dark", "contrast": "no-preference"},
    "contrast": {"color_scheme": "light", "contrast": "more"},
}
PICTURES = [f"{scene}-{theme}" for scene in SCENES for theme in ("light", "dark")]
PICTURES.insert(2, "sidebar-contrast")

# What a careless change may do to the style, and what must be seen then. Without rules: the class with
# the theme's variables is lost.
SPOILED = {
    "sidebar-light": {
        "a summary is lost": "[data-section=graph] .fl-Section-summary { opacity: 0; }"
    },
    "sidebar-dark": {"the theme is lost": ""},
    "work-light": {
        "a row is missing": ".fl-Progress li:nth-child(9) { display: none; }",
        "a row is empty": ".fl-Progress li:nth-child(4) { visibility: hidden; }",
        "a state has another colour": ".fl-Panel { --fl-cancelled: #8a7f86 !important; }",
    },
    "work-dark": {
        "a line of text is lost": ".fl-Time-figures { visibility: hidden; }",
        "a white block": ".fl-Node { background: #fff !important; }",
    },
    "meters-light": {"no chart": ".fl-Chart-host { opacity: 0; }"},
    "meters-dark": {"faint numbers": ".fl-MeterLegend dd { opacity: 0.3; }"},
    "tables-light": {
        "a column is lost": "[data-section=workers] [role=gridcell]:nth-child(3) { opacity: 0; }",
        "the theme is lost": "",
    },
    "recording-dark": {"a title is lost": ".fl-Player-title { visibility: hidden; }"},
}


class Studio:
    """A page, and what is drawn in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._scene = ""

    def arrange(self, name: str, theme: str) -> None:
        """Draw a scene, unless it is there, and wait until it is complete."""
        page, scene = self.page, SCENES[name]
        page.emulate_media(reduced_motion="reduce", **THEMES[theme])
        if self._scene != name:
            self._scene = ""
            page.set_viewport_size({"width": scene.width, "height": scene.height})
            page.evaluate(DRAW, scene.arguments())
            self._complete(scene)
            if scene.click:
                page.locator(scene.click).click()
                page.mouse.move(0, 0)
        self._complete(scene)
        self._scene = name

    def _complete(self, scene: Scene) -> None:
        self.page.wait_for_function(COMPLETE, arg=scene.arguments()["moment"])
        self.page.evaluate(FRAMES)

    def look(self) -> Image.Image:
        return Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")

    def still(self, enough: Callable[[Image.Image], bool] = lambda _: False) -> Image.Image:
        """What is on view when that is enough, else when nothing has changed for a while."""
        picture = self.look()
        began = since = time.monotonic()
        looks = 0  # at the same picture
        while not enough(picture) and (looks < LOOKS or time.monotonic() < since + STILL):
            assert time.monotonic() < began + PATIENCE, "the page never stands still"
            self.page.wait_for_timeout(100)
            last, picture = picture, self.look()
            looks += 1
            if picture.tobytes() != last.tobytes():
                since, looks = time.monotonic(), 0
        return picture

    @contextlib.contextmanager
    def spoiled(self, rules: str) -> Iterator[None]:
        """With these rules in the page's style; "" stands for: without the theme's variables."""
        change = "([rules, on]) => SPOIL".replace(
            "SPOIL",
            """{
            const sheet = (window.stage.sheet ??= document.head.appendChild(document.createElement('style')));
            sheet.textContent = on ? rules : '';
            document.getElementById('fanlight-host').classList.toggle('fl-Plain', !(on && !rules));
        }""",
        )
        self.page.evaluate(change, [rules, True])
        yield
        self.page.evaluate(change, [rules, False])


@pytest.fixture(scope="module")
def studio(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    recording, file = folder / "run.fanlight", folder / "run.html"
    recorded_run.write(recording)
    made = standalone.page("Snapshots", "nobody", blob=recording.read_bytes())
    file.write_text(made.replace("</head>", f"<style>{fonts()}{STYLE}</style></head>", 1), "utf-8")
    same: dict[str, Any] = {"device_scale_factor": 1, "timezone_id": "UTC", "locale": "en-US"}
    with bare_page(browser, 300, 300, seconds=60, **same) as (page, _):
        page.goto(file.as_uri())
        yield Studio(page)


def fonts() -> str:
    """Those that Matplotlib brings along, inside the page."""
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    return "".join(
        f"@font-face {{ font-family: '{family}'; font-weight: {weights}; src: url(data:font/ttf;base64,"
        f"{base64.b64encode((folder / f'{file}.ttf').read_bytes()).decode()}); }}\n"
        for family, weights, file in FONTS
    )


@pytest.fixture(scope="module", params=PICTURES)
def arranged(studio: Studio, request: pytest.FixtureRequest) -> str:
    """One of the pictures is on view; its name."""
    name: str = request.param
    studio.arrange(*name.split("-"))
    return name


def test_the_panel_looks_as_it_did(studio: Studio, arranged: str) -> None:
    snapshot = SNAPSHOTS / f"{arranged}.png"
    why, cells = "it is not there", None
    if snapshot.exists():
        expected = opened(snapshot)
        picture = studio.still(lambda picture: not likeness.compare(expected, picture).why)
        why, cells = likeness.compare(expected, picture)
        if not why:
            return
    else:
        picture = studio.still()
    if RENEW:
        SNAPSHOTS.mkdir(exist_ok=True)
        likeness.save(picture, snapshot)
        return
    start = SHOTS / f"snapshot-{arranged}"
    picture.save(f"{start}-actual.png")
    if cells is not None:
        opened(snapshot).save(f"{start}-expected.png")
        likeness.marked(picture, cells).save(f"{start}-difference.png")
    pytest.fail(
        f"The panel does not look like {snapshot.relative_to(ROOT)}: {why}.\n"
        f"See {start.relative_to(ROOT)}-*.png. If it is meant to look so, run `make snapshots`, look "
        "at the pictures that `git diff` names, and commit them.",
        pytrace=False,
    )


@pytest.mark.skipif(RENEW, reason="the snapshots are made anew")
def test_careless_changes_are_seen(studio: Studio, arranged: str) -> None:
    expected = opened(SNAPSHOTS / f"{arranged}.png")
    for what, rules in SPOILED.get(arranged, {}).items():
        with studio.spoiled(rules):
            assert likeness.compare(expected, studio.look()).why, f"not seen: {what}"


def opened(path: Path) -> Image.Image:
    with Image.open(path) as file:
        return file.convert("RGB")


def test_what_nobody_sees_is_no_difference() -> None:
    picture = opened(SNAPSHOTS / "work-light.png")
    blurred = picture.filter(ImageFilter.GaussianBlur(0.4))
    moved = ImageChops.offset(blurred, 1, -1)
    darker = moved.point(lambda value: int(value * 0.98))
    assert not likeness.compare(picture, darker).why
    assert not likeness.compare(picture, ImageOps.expand(darker, (0, 0, 3, 3))).why
    assert "pixels large" in likeness.compare(picture, ImageOps.expand(picture, (0, 0, 0, 9))).why
    assert likeness.compare(picture, ImageChops.offset(picture, 3, 0)).why


def test_no_snapshot_is_left_over() -> None:
    assert {path.stem for path in SNAPSHOTS.iterdir()} == set(PICTURES)
