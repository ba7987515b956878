"""TensorBoard for real: the server over HTTP, and what a browser shows."""

import io
import json
import shutil
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lightning_fv
from tests.processes import finish, kill, start_command, start_python, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    run = tmp_path_factory.mktemp("tensorboard") / "run"
    lightning_fv.render("demo", "logits:pizza+logits:lion+layer3:5", steps=64, out=run, progress=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["-m", "tensorboard.main", "--logdir", run, "--host", "127.0.0.1", "--port", port]
    process = start_python(*command, "--load_fast=false", "--samples_per_plugin", "images=200")
    url = f"http://127.0.0.1:{port}"

    def has_pictures() -> bool:
        try:
            return get(f"{url}/data/plugin/images/tags") != b"{}"
        except OSError:
            return False

    try:
        wait_for(has_pictures, process)
        yield url
    finally:
        kill(process)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:
        return bytes(response.read())


def test_the_image_plugin_serves_the_pictures(server: str) -> None:
    tags = json.loads(get(f"{server}/data/plugin/images/tags"))
    (run,) = tags
    assert set(tags[run]) == {"pictures", "logits/pizza", "logits/lion", "layer3/5"}
    query = urllib.parse.urlencode({"run": run, "tag": "pictures", "sample": 0})
    images = json.loads(get(f"{server}/data/plugin/images/images?{query}"))
    assert [image["step"] for image in images] == list(range(4, 65, 4))
    first, last = (
        np.array(Image.open(io.BytesIO(get(f"{server}/data/plugin/images/individualImage?{images[i]['query']}"))))
        for i in (0, -1)
    )
    assert first.shape == last.shape
    assert np.abs(first.astype(int) - last).mean() > 5
    assert last.std() > 20


def test_a_browser_shows_them(server: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no chromium on this machine")
    shot = tmp_path / "shot.png"
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000", "--virtual-time-budget=30000"]
    code, output = finish(start_command(*command, f"--screenshot={shot}", f"{server}/#images"))
    assert code == 0, output
    with Image.open(shot) as image:
        pixels = np.array(image.convert("RGB")).reshape(-1, 3)
    # The page is white, grey and orange; pictures bring thousands of other colours.
    assert len(np.unique(pixels, axis=0)) > 5000
