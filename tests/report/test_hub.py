"""A gallery that is uploaded, to a server of this machine by the hub's own client."""

import base64
import dataclasses
import hashlib
import http.server
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from lightning_fv.commands.main import main
from lightning_fv.runs.evidence import Evidence, Example, write_evidence
from lightning_fv.runs.picture import write_picture
from lightning_fv.runs.record import Record, read_manifest
from tests.helpers import noise
from tests.processes import run_python
from tests.report.test_gallery import DONE, Page, make_run

huggingface_hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("huggingface_hub.constants")

TOKENS = {"hf_write": "ann", "hf_read": "ann"}
JPEG = "photos/0a.jpg"


@dataclasses.dataclass
class Repository:
    sdk: str = "static"
    private: bool = False
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    commits: list[str] = dataclasses.field(default_factory=list)

    @property
    def tags(self) -> list[str]:
        head = self.files.get("README.md", b"").decode().split("---")
        return [self.sdk, *((yaml.safe_load(head[1]) or {}).get("tags", []) if len(head) > 2 else [])]


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as its client needs to upload files to a Space."""

    spaces: dict[str, Repository]
    blobs: dict[str, bytes]

    def log_message(self, *args: object) -> None:
        pass

    def answer(self, code: int, content: Any = None, **headers: str) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def handle_request(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if method == "PUT":
            oid = path.rpartition("/")[2]
            assert hashlib.sha256(body).hexdigest() == oid
            self.blobs[oid] = body
            return self.answer(200)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in TOKENS:
            return self.answer(401, {"error": "Invalid username or password."})
        if path == "/api/whoami-v2":
            return self.answer(200, {"name": TOKENS[token], "type": "user"})
        if path == "/api/validate-yaml":
            yaml.safe_load(json.loads(body)["content"].split("---")[1])
            return self.answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            assert (asked["type"], asked["sdk"]) == ("space", "static")
            if token == "hf_read" or asked["organization"] != TOKENS[token]:
                return self.answer(403, {"error": "You don't have the rights to create a space under this namespace"})
            name = f"{asked['organization']}/{asked['name']}"
            self.spaces[name] = Repository(private=asked.get("visibility") == "private")
            return self.answer(200, {"url": f"{self.address}/spaces/{name}", "name": name})
        owner, name, *rest = path.removeprefix("/api").removeprefix("/spaces/").split("/")
        name = f"{owner}/{name.removesuffix('.git')}"
        if name not in self.spaces:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        space = self.spaces[name]
        if not rest:
            files = [{"rfilename": file} for file in [".gitattributes", *space.files]]
            return self.answer(
                200, {"id": name, "private": space.private, "sdk": space.sdk, "tags": space.tags, "siblings": files}
            )
        asked = [json.loads(line) for line in body.splitlines()]
        if rest[0] == "preupload":
            modes = [
                {
                    "path": file["path"],
                    "shouldIgnore": False,
                    "uploadMode": "lfs" if file["path"].endswith((".png", ".jpg")) else "regular",
                }
                for file in asked[0]["files"]
            ]
            return self.answer(200, {"files": modes})
        if rest[-1] == "batch":
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.address}/blobs/{one['oid']}"}}}
                for one in asked[0]["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        assert rest == ["commit", "main"]
        for operation in asked:
            value = operation["value"]
            if operation["key"] == "header":
                space.commits.append(value["summary"])
            elif operation["key"] == "file":
                space.files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                space.files[value["path"]] = self.blobs[value["oid"]]
            else:
                assert operation["key"] == "deletedFile"
                del space.files[value["path"]]
        return self.answer(200, {"commitUrl": f"{self.address}/spaces/{name}/commit/0", "commitOid": "0" * 40})

    def do_GET(self) -> None:
        self.handle_request("GET")

    def do_POST(self) -> None:
        self.handle_request("POST")

    def do_PUT(self) -> None:
        self.handle_request("PUT")


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client without a token of this machine, and with one in the environment."""
    for name in ("HF_HUB_OFFLINE", "http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    # By LFS: the client's other protocol, Xet, is another library's, which looks for servers of its own.
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def hub(client: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Repository]]:
    """The Spaces of a hub of this machine."""
    spaces: dict[str, Repository] = {}
    handler = type("Handler", (Hub,), {"spaces": spaces, "blobs": {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("HF_ENDPOINT", address)  # for processes
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        yield spaces
        server.shutdown()
        thread.join()


def numbered(count: int) -> list[Record]:
    return [
        dataclasses.replace(DONE, id=f"layer3-{n:04d}", target=f"layer3:{n}", image=f"images/layer3-{n:04d}.png")
        for n in range(count)
    ]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two pictures, frames of one, and evidence about one with a photo."""
    records = numbered(2)
    folder = make_run(tmp_path / "classes", records, {"0123": records[:1]})
    (folder / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(folder / JPEG)
    example = Example("holiday at sea.jpg", 2.5, JPEG)
    found = Evidence("layer3-0000", "layer3:0", examples=[example], least=[example], verdict="doubt", reasons=["why"])
    write_evidence(folder / "evidence.jsonl", [found])
    (folder / "config.yaml").write_text("private: 1\n")
    return folder


def linked(page: Path) -> set[str]:
    """What a page links to, from its folder."""
    data = Page(page).data
    found = {os.path.normpath(image) for image in Page(page).images() if image}
    for run, url, _, steps in data["jobs"]:
        found |= {os.path.normpath(f"{data['runs'][run]['url']}{url}/frames/{step:08d}.jpg") for step in steps}
    for row, evidence in zip(Page(page).rows(), data.get("evidence", {}).get("rows", []), strict=False):
        for photo in [*evidence[6], *evidence[7]] if evidence else []:
            file = data["evidence"]["photos"][photo[0]][0]
            found.add(os.path.normpath(data["runs"][row["run"]]["url"] + file))
    return found


def downloaded(space: Repository, folder: Path) -> Path:
    """The page of a Space, as a browser would get it."""
    for name, content in space.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / "index.html"


def test_a_gallery_is_a_space_with_all_that_its_page_shows(
    hub: dict[str, Repository], run: Path, tmp_path: Path
) -> None:
    done = run_python("-m", "lightning_fv", "gallery", run, "--push", "units")
    assert done.returncode == 0, done.error_output
    page, left_out, address = done.output.splitlines()
    assert (page, address) == (str(run / "gallery.html"), f"{os.environ['HF_ENDPOINT']}/spaces/ann/units")
    assert left_out.startswith("1 photo left out, ")
    assert "--with-photos" in left_out
    (space,) = hub.values()
    assert not space.private
    assert space.commits == ["Gallery of classes"]
    frames = {f"jobs/0123/frames/{step:08d}.jpg" for step in (0, 8, 128)}
    pictures = {f"images/layer3-{n:04d}.png" for n in range(2)}
    assert set(space.files) == {"index.html", "README.md", *pictures, *frames}
    for name in (*pictures, *frames):
        assert space.files[name] == (run / name).read_bytes()
    shown = downloaded(space, tmp_path / "browser")
    assert linked(shown) == pictures | frames
    assert Page(shown).data["evidence"]["rows"][0][2] == ["why"]  # without its photo
    assert b"holiday" not in space.files["index.html"]
    head = yaml.safe_load(space.files["README.md"].decode().split("---")[1])
    assert (head["title"], head["sdk"], head["tags"][0]) == ("classes", "static", "lightning-fv")
    assert linked(run / "gallery.html") == pictures | frames | {JPEG}


def test_pushed_again_it_replaces_what_was_there(
    hub: dict[str, Repository], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Photos that are no longer to be shown are gone, as are pictures of an earlier run."""
    words = ["gallery", str(run), "--push", "ann/units"]
    assert main([*words, "--with-photos", "--private"]) == 0
    assert "left out" not in capsys.readouterr().out
    space = hub["ann/units"]
    assert space.private
    assert space.files[JPEG] == (run / JPEG).read_bytes()
    assert linked(downloaded(space, tmp_path / "browser")) == set(space.files) - {"index.html", "README.md"}
    assert main(words) == 0
    assert JPEG not in space.files
    other = make_run(tmp_path / "other", numbered(1))
    assert main(["gallery", str(other), "--push", "units"]) == 0
    assert set(space.files) == {"index.html", "README.md", "images/layer3-0000.png"}
    assert space.commits == ["Gallery of classes", "Gallery of classes", "Gallery of other"]


def test_several_runs_in_one_space(hub: dict[str, Repository], tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "all" / name, numbered(1)) for name in ("a # 1", "b/c")]
    assert main(["gallery", *map(str, runs), "--push", "units", "--out", str(tmp_path / "page.html")]) == 0
    pictures = {"a # 1/images/layer3-0000.png", "b/c/images/layer3-0000.png"}
    assert set(hub["ann/units"].files) == {"index.html", "README.md", *pictures}
    page = Page(downloaded(hub["ann/units"], tmp_path / "browser"))
    assert [run["name"] for run in page.data["runs"]] == ["a # 1", "b/c"]


def told(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a command ends with, which is refused."""
    capsys.readouterr()
    assert main(["gallery", *map(str, words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lightning-fv: error: ")
    return line


def test_what_is_wrong_without_the_hub_is_told_before_anything_is_written(
    client: None, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--push a/b/c: Repo id must be in the form" in told(capsys, run, "--push", "a/b/c")
    assert "write NAME or OWNER/NAME" in told(capsys, run, "--push", "two words")
    assert "add --push NAME" in told(capsys, run, "--with-photos")
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        assert "HF_HUB_OFFLINE forbids it" in told(capsys, run, "--push", "units")
    with monkeypatch.context() as patch:
        patch.delenv("HF_TOKEN")
        assert "log in with `hf auth login`, or set HF_TOKEN" in told(capsys, run, "--push", "units")
    with monkeypatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
            patch.setitem(sys.modules, name, None)
        assert "pip install 'lightning_fv[hub]'" in told(capsys, run, "--push", "units")
    assert not (run / "gallery.html").exists()


def test_what_the_hub_refuses_is_told_and_the_page_is_kept(
    hub: dict[str, Repository], run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_unknown")
        for name in ("units", "ann/units"):
            assert "the hub does not accept the token (" in told(capsys, run, "--push", name)
    with monkeypatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_read")
        line = told(capsys, run, "--push", "units")
        assert "the token may not write there (You don't have the rights" in line
    assert "choose a token that may, or a name of your own" in told(capsys, run, "--push", "bob/units")
    assert hub == {}
    hub["ann/app"] = Repository("gradio", files={"app.py": b"1", "README.md": b"---\nsdk: gradio\n---\n"})
    assert "ann/app exists and is no gallery" in told(capsys, run, "--push", "app")
    assert set(hub["ann/app"].files) == {"app.py", "README.md"}
    assert main(["gallery", str(run), "--push", "units"]) == 0
    assert "is public; make it private" in told(capsys, run, "--push", "units", "--private")
    assert linked(run / "gallery.html")


def test_no_hub_is_one_line(
    client: None, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        line = told(capsys, run, "--push", "units")
    assert "cannot push to units: " in line
    assert "refused" in line
    assert line.endswith("; the page on this disk is whole")
    assert linked(run / "gallery.html")


@pytest.mark.parametrize("what", ["start", "inversion"])
def test_pictures_made_from_photos_are_photos(
    hub: dict[str, Repository], tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", numbered(2))
    record = read_manifest(run / "manifest.jsonl")[1]
    if what == "start":
        recipe = {"start": {"photo": "me.jpg", "digest": "0a"}}
        write_picture(run / str(record.image), noise(3, 8, 8), record, recipe)
    else:
        record.target = "inversion:me.jpg@layer2"
        (run / "manifest.jsonl").write_text(record.to_json() + "\n")
    line = told(capsys, run, "--push", "units")
    assert f"holds 1 pictures made from photos, such as {record.target}, " in line
    assert "add --with-photos" in line
    assert hub == {}
    assert main(["gallery", str(run), "--push", "units", "--with-photos"]) == 0


def test_a_link_is_not_followed(
    hub: dict[str, Repository], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").write_text("x")
    (run / "images" / "layer3-0001.png").unlink()
    (run / "images" / "layer3-0001.png").symlink_to(tmp_path / "secret")
    assert "is a link to" in told(capsys, run, "--push", "units")
    assert hub == {}
