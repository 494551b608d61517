"""Runs the program in this process, since starting it takes seconds."""

import csv
import functools
import http.server
import json
import os
import re
import shutil
import threading

import cv2
import numpy as np
import pytest

import psp_jax
from data_builders import sources
from psp_jax.io import command_line
from psp_jax.partition import scores
from psp_jax.predict import __main__ as command
from psp_jax.predict import frames, viewer, written
from tests import scans

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def read_png(path):
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, path
    return np.asarray(pixels)


def read_table(out, name):
    return list(csv.DictReader((out / "tables" / f"{name}.csv").read_text().splitlines()))


@pytest.fixture(autouse=True)
def known_segmentations(monkeypatch):
    monkeypatch.setattr(
        sources.ScanNet, "segmentations", lambda self: scans.small_config().segmentations
    )


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the program; returns its status and output."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["predict", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command_line.run(command.main, command.parser())
        return ended.value.code, "".join(capsys.readouterr())

    return run


def photo(suffix, pixels):
    """Encodes RGB, or gray, as a camera does."""
    done, data = cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    assert done
    return data.tobytes()


def blocks(turn=0, size=8):
    """Returns an image of blocks, different for every turn."""
    return np.kron(np.roll(COLOURS, turn, axis=1), np.ones((size, size, 1), np.uint8))


def write_film(path, frames):
    """Writes a film of blocks, 10 frames a second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for turn in range(frames):
        writer.write(blocks(turn)[..., ::-1])
    writer.release()
    return path


@pytest.fixture
def photos(tmp_path):
    """Three images in a folder, one of which is damaged."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    (folder / "a.png").write_bytes(photo(".png", blocks(0)))
    (folder / "trip" / "b.jpg").write_bytes(photo(".jpg", blocks(1, 12)))
    (folder / "bad.png").write_bytes(photo(".png", blocks(2))[:-30])
    (folder / "notes.txt").write_text("no image")
    return folder


def test_a_folder_becomes_depth_classes_regions_overlays_and_tables(depth_run, photos, run):
    out = photos.parent / "out"
    status, output = run("--workdir", depth_run, photos, f"--out={out}", "--outputs=all")
    assert status == 1
    assert "2 frames predicted" in output
    assert re.search(r"^  \S+bad.png: .*truncated", output, re.MULTILINE)
    predict = psp_jax.load(depth_run)
    for name, path in (("a", photos / "a.png"), ("trip/b", photos / "trip" / "b.jpg")):
        image = frames.read_image(path)
        depth_m = predict(image).depth_m
        assert depth_m is not None
        read = {k: read_png(out / k / f"{name}.png") for k in ("depth", "regions")}
        assert all(each.dtype == np.uint16 for each in read.values())
        # A batch of two is rounded differently from a single image.
        assert np.abs(read["depth"] - 1000 * depth_m).max() < 1.5
        for kind in ("overlay", "region_colors"):
            assert read_png(out / kind / f"{name}.jpg").shape == image.shape
        assert read_png(out / "depth_color" / f"{name}.png").shape == image.shape
        classes = read_png(out / "classes" / f"{name}.png")
        assert classes.max() < 16
        np.testing.assert_array_equal(classes > 0, scores.boundary(read["regions"]))
        rows = read_table(out, name)
        assert [int(row["region"]) for row in rows] == list(range(read["regions"].max() + 1))
        for number, row in enumerate(rows):
            inside = read["regions"] == number
            assert int(row["area_px"]) == inside.sum()
            assert abs(float(row["mean_depth_m"]) - read["depth"][inside].mean() / 1000) < 2e-3
            around = cv2.dilate(inside.astype(np.uint8), CROSS)
            expected = sorted(set(read["regions"][around > 0].tolist()) - {number})
            assert row["neighbours"] == " ".join(map(str, expected))


def test_an_interrupted_run_resumes_only_with_the_same_settings(edges_run, photos, run):
    out = photos.parent / "out"
    (photos / "bad.png").unlink()
    arguments = ("--workdir", edges_run, photos, "--out", out)
    assert run(*arguments)[0] == 0
    assert not (out / "depth").exists()  # The run does not predict it.
    # As if killed while writing: an unfinished line, and a missing file.
    (out / "regions" / "a.png").unlink()
    with (out / written.FILE).open("a") as file:
        file.write('{"name": "trip/b", "sour')
    assert run(*arguments)[1].startswith("1 frame predicted, 1 already present")
    assert (out / "regions" / "a.png").exists()
    # More outputs are of the same settings; a frame whose file has changed is predicted again.
    assert run(*arguments, "--outputs=arrays")[1].startswith("2 frames predicted")
    os.utime(photos / "trip" / "b.jpg", ns=(1, 1))
    more = run(*arguments, "--outputs=arrays,overlay")[1]
    assert more.startswith("1 frame predicted, 1 already present")
    with np.load(out / "arrays" / "a.npz") as stored:
        assert sorted(stored) == ["classes", "edges", "regions"]

    status, output = run(*arguments, "--flip")
    assert status == 2 and "flip: False -> True" in output
    assert run(*arguments, "--flip", "--overwrite")[0] == 0
    assert not (out / "arrays").exists()  # They were of other settings.


@pytest.mark.parametrize("out", [".", "predicted"])
def test_results_in_the_folder_of_the_photos_are_no_photos(
    edges_run, photos, run, out, monkeypatch
):
    (photos / "bad.png").unlink()
    monkeypatch.chdir(photos)
    arguments = ("--workdir", edges_run, ".", f"--out={out}", "--outputs=overlay,regions")
    assert run(*arguments)[1].startswith("2 frames predicted")
    assert run(*arguments)[1].startswith("0 frames predicted, 2 already present")
    found = sorted(path.as_posix() for path in (photos / out).rglob("*.jpg"))
    assert len(found) == (3 if out == "." else 2)
    # A file in the way stops only its own frame.
    (photos / out / "overlay" / "a.jpg").write_text("mine")
    status, output = run(*arguments, "--overwrite")
    assert status == 1 and "a.jpg exists and this program did not write it" in output
    assert "1 frame predicted" in output
    assert (photos / out / "overlay" / "a.jpg").read_text() == "mine"


def test_videos_and_scans_become_frames(edges_run, scans_dir, tmp_path, run):
    scan = next(scans_dir.glob("scans/*/*.sens"))
    film = write_film(tmp_path / "film.avi", frames=5)
    (tmp_path / "no.mp4").write_bytes(b"no video")
    cut = tmp_path / "cut.sens"
    cut.write_bytes(scan.read_bytes()[: scan.stat().st_size * 2 // 3])
    inputs = [scan, film, tmp_path / "no.mp4", cut]
    chosen = ("--outputs=overlay,regions", "--stride=2")
    status, output = run(*inputs, "--workdir", edges_run, "--out", tmp_path / "out", *chosen)
    assert status == 1
    assert "no.mp4: no video that can be decoded" in output
    assert "cut.sens: the rest can't be read" in output
    found = sorted(
        path.relative_to(tmp_path / "out" / "regions").as_posix()
        for path in tmp_path.glob("out/regions/*/*.png")
    )
    capture = cv2.VideoCapture(str(tmp_path / "out" / "overlay" / "film.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert capture.get(cv2.CAP_PROP_FPS) == 5
    assert int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little") == b"h264"
    capture.release()
    assert not list((tmp_path / "out" / "overlay" / "film").glob("*"))
    names = [f"film/{index:06d}.png" for index in (0, 2, 4)]
    names += [f"{scan.stem}/{index:06d}.png" for index in (0, 2)]
    assert sorted({*names, *(name for name in found if name.startswith("cut"))}) == found
    ((_, read), *_) = frames.find([str(film)], 1)[0].frames(lambda frame: True)
    assert np.abs(read().astype(int) - blocks(0)).mean() < 12  # JPEG's colours bleed.


@pytest.fixture
def served(tmp_path):
    """A folder, and its address on a web server of this computer."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield folder, f"127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


def test_a_stream_is_a_film_of_as_many_frames_as_are_asked_for(edges_run, served, tmp_path, run):
    folder, host = served
    write_film(folder / "live.avi", frames=9)
    (folder / "text.avi").write_text("no video")
    command = (f"--workdir={edges_run}", f"--out={tmp_path / 'out'}")
    status, output = run(f"--camera=http://me:secret@{host}/live.avi", "--frames=4", *command)
    assert status == 0 and "4 frames predicted" in output
    film = tmp_path / "out" / "overlay" / "camera.mp4"
    capture = cv2.VideoCapture(str(film))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert capture.get(cv2.CAP_PROP_FPS) == 10
    capture.release()
    record = (tmp_path / "out" / written.FILE).read_text()
    assert f"http://{host}/live.avi" in record and "secret" not in record
    # The next frames replace them, and the stream may end before.
    status, output = run(f"--camera=http://{host}/live.avi", "--stride=2", *command)
    assert status == 0 and "5 frames predicted" in output
    status, output = run(f"--camera=http://{host}/text.avi", *command)
    assert status == 2 and len(output.splitlines()) == 1 and "text.avi can't be opened" in output


def test_photographs_are_turned_upright_and_may_hold_more_than_a_picture(tmp_path):
    jpeg = photo(".jpg", blocks())
    turned = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(turned) + 2).to_bytes(2, "big") + turned
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg[:2] + segment + jpeg[2:] + b"a film, say" * 99)
    image = frames.read_image(path)
    assert image.shape == (64, 48, 3)
    assert np.abs(image.astype(int) - np.rot90(blocks(), -1)).mean() < 12
    path.write_bytes(jpeg[: len(jpeg) // 2])
    with pytest.raises(ValueError, match="truncated|expected a JPEG or PNG"):
        frames.read_image(path)
    path.write_bytes(photo(".png", np.full((9, 9), 1500, np.uint16)))
    with pytest.raises(ValueError, match="16-bit gray"):
        frames.read_image(path)


def test_wrong_arguments_are_refused_in_one_line(depth_run, photos, tmp_path, run):
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("four years")
    good = {"--workdir": depth_run, "--out": tmp_path / "out"}
    for inputs, changed, message in (
        ([photos], {"--workdir": tmp_path / "nowhere"}, "nowhere holds no run"),
        ([tmp_path / "empty"], {}, "empty holds no image"),
        ([tmp_path / "gone.png"], {}, "gone.png does not exist"),
        ([tmp_path / "*.webp"], {}, "nothing matches"),
        ([photos / "notes.txt"], {}, "notes.txt: expected an image"),
        ([photos], {"--batch_size": 0}, "--batch_size: expected an integer from 1, got '0'"),
        ([photos], {"--size": "480"}, "HEIGHTxWIDTH"),
        ([photos], {"--size": "8x8"}, "at least 16"),
        ([photos], {"--scales": "1,x"}, "expected a positive number, got 'x'"),
        ([photos], {"--fov": "180"}, "below 180"),
        ([photos], {"--outputs": "overlays"}, "got 'overlays'"),
        ([photos], {"--out": tmp_path / "mine" / "thesis.txt"}, "expected a folder, got a file"),
        ([], {}, "expected an INPUT"),
        ([photos], {"--frames": 3}, "--frames bounds"),
        ([], {"--camera": 97}, "/dev/video97 can't be opened"),
        ([], {"--camera": "me:secret@host/film"}, "expected the number of a camera or a URL of"),
        ([], {"--camera": "http://me:secret@127.0.0.1:9/a.avi"}, "http://127.0.0.1:9/a.avi can't"),
    ):
        options = [f"{name}={value}" for name, value in {**good, **changed}.items()]
        status, output = run(*inputs, *options)
        assert status == 2 and message in output, output
        assert len(output.strip().splitlines()) == 1
        assert "secret" not in output or "--camera" in changed and "got" in output
    assert (tmp_path / "mine" / "thesis.txt").exists()
    assert not (tmp_path / "out").exists()


@pytest.fixture
def shown(depth_run, photos, run):
    """A folder with a page of two frames, one of which has a name that has to be escaped."""
    (photos / "bad.png").unlink()
    (photos / "trip" / "b.jpg").rename(photos / "trip" / "50% <b>#1.jpg")
    out = photos.parent / "out"
    status, output = run("--workdir", depth_run, photos, f"--out={out}", "--outputs=all", "--page")
    assert status == 0 and str(out / viewer.INDEX_FILE) in output
    return out


def test_a_page_needs_nothing_but_its_folder(shown):
    text = (shown / viewer.INDEX_FILE).read_text()
    assert not re.search(r"(src|href)=.?(https?:|//|/)", text)
    assert "<b>" not in text.partition("<script>")[2]
    assert json.loads(text.partition("NAMES = ")[2].partition(";")[0]) == ["a", "trip/50% <b>#1"]
    for name in ("a", "trip/50% <b>#1"):
        script = (shown / "page" / "frames" / f"{name}.js").read_text()
        facts = json.loads(script.removeprefix("show(").removesuffix(");\n"))
        assert facts["name"] == name
        assert [layer["key"] for layer in facts["layers"]] == ["image", "depth", "classes"]
        assert len(facts["colors"]) == len(facts["regions"])
        depth_mm = read_png(shown / "depth" / f"{name}.png")
        near_far_m = np.percentile(depth_mm, (1, 99)) / 1000
        np.testing.assert_allclose(facts["depth_range_m"], near_far_m, atol=0.01)
        assert "frame.depth_range_m[0]" in text  # The page reads the key that the script has.
        rows = read_table(shown, name)
        assert [area for area, _, _ in facts["regions"]] == [int(row["area_px"]) for row in rows]


@pytest.fixture
def browser():
    """Headless Chromium, driven by Selenium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="Selenium is not installed")
    chromium, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not (chromium and driver):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--no-first-run", "--window-size=1280,860",
    ):  # fmt: skip
        options.add_argument(flag)
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.mark.filterwarnings("ignore")  # Of the driver's own sockets.
def test_a_browser_shows_regions_under_pointer_and_keys(shown, browser, tmp_path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    def text(name):
        return browser.find_element("id", name).get_attribute("textContent")

    def colours():
        return len(set(browser.execute_script(
            "const c = document.getElementById('canvas'), d = c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data, s = [];"
            "for (let i = 0; i < d.length; i += 4004) s.push(d.slice(i, i + 3).join());"
            "return s;"
        )))  # fmt: skip

    def facts_of(name):
        labels = read_png(shown / "regions" / f"{name}.png")
        rows = read_table(shown, name)
        row = rows[int(labels[labels.shape[0] // 2, labels.shape[1] // 2])]
        area, depth = int(row["area_px"]), float(row["mean_depth_m"])
        return f"number{row['region']}area{area:,} px", f"mean depth{depth:.2f} m"

    wait = WebDriverWait(browser, 20)
    browser.get((shown / viewer.INDEX_FILE).as_uri())
    wait.until(lambda _: text("name") == "a")
    canvas = browser.find_element("id", "canvas")
    ActionChains(browser).move_to_element(canvas).perform()
    wait.until(lambda _: "number" in text("region"))
    assert all(fact in text("region") for fact in facts_of("a"))
    body = browser.find_element("tag name", "body")
    seen = []
    for key in "1234":
        body.send_keys(key)
        seen.append(colours())
    assert min(seen) > 2 and len(set(seen)) > 2
    body.send_keys(Keys.ARROW_RIGHT)
    wait.until(lambda _: text("name") == "trip/50% <b>#1")
    browser.execute_script("arguments[0].focus()", canvas)
    canvas.send_keys(Keys.ARROW_LEFT)  # The pointer appears in the middle.
    wait.until(lambda _: "number" in text("region"))
    assert all(fact in text("region") for fact in facts_of("trip/50% <b>#1"))
    assert text("error") == "" and text("count") == "2 of 2"
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    browser.save_screenshot(str(tmp_path / "page.png"))
