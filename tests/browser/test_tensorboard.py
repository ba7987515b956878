"""TensorBoard for real: the server over HTTP, and what a browser shows."""

import io
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lightning_fv

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    run = tmp_path_factory.mktemp("tensorboard") / "run"
    lightning_fv.render("demo", "logits:pizza+logits:lion+layer3:5", steps=64, out=run, progress=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(run),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += ["--load_fast=false", "--samples_per_plugin", "images=200"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 90
        while True:
            try:
                if get(f"{url}/data/plugin/images/tags") != b"{}":
                    break
            except OSError:
                pass
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait()


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
    subprocess.run(
        [*command, f"--screenshot={shot}", f"{server}/#images"], timeout=200, check=True, capture_output=True
    )
    with Image.open(shot) as image:
        pixels = np.array(image.convert("RGB")).reshape(-1, 3)
    # The page is white, grey and orange; pictures bring thousands of other colours.
    assert len(np.unique(pixels, axis=0)) > 5000
