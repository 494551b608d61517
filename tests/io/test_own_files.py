"""No program replaces a file that it did not write, whatever it is called."""

import os

import cv2
import numpy as np
import pytest

import psp_jax.codec.__main__ as codec_program
import psp_jax.report.__main__ as report_program
import psp_jax.weights.__main__ as weights_program
from psp_jax import explore
from psp_jax.io import own_files

FOREIGN = b"mine"


@pytest.fixture
def depth(tmp_path):
    """A folder with a depth image."""
    depth_mm = np.full((64, 96), 2000, np.uint16)
    depth_mm[:, 30:] = 3000
    (tmp_path / "in" / "depth").mkdir(parents=True)
    (tmp_path / "in" / "depth" / "a.png").write_bytes(cv2.imencode(".png", depth_mm)[1].tobytes())
    return tmp_path / "in"


def run(program, *arguments):
    parser = program.parser()
    return program.main(parser.parse_args([str(each) for each in arguments])) or 0


def place(path, kind):
    """Puts something of the user where a program would write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    other = path.parents[1] / "precious.txt"
    other.write_bytes(FOREIGN)
    if kind == "file":
        path.write_bytes(FOREIGN)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(other if kind == "link" else path.parents[1] / "nowhere")
    return other


KINDS = ["file", "folder", "link", "broken link"]


def test_own_files_are_replaced_and_others_are_not(tmp_path):
    own = own_files.OwnFiles(tmp_path / "out")
    own.write("a/b.txt", "1")
    own_files.OwnFiles(tmp_path / "out").write("a/b.txt", "2")
    assert (tmp_path / "out" / "a" / "b.txt").read_text() == "2"
    (tmp_path / "out" / "c.txt").write_bytes(FOREIGN)
    with pytest.raises(FileExistsError, match="c.txt exists"):
        own_files.OwnFiles(tmp_path / "out").write("c.txt", "3")
    assert (tmp_path / "out" / "c.txt").read_bytes() == FOREIGN


def test_names_that_are_not_utf8_are_listed(tmp_path):
    name = os.fsdecode(b"caf\xe9.txt")
    for text in "12":
        own_files.OwnFiles(tmp_path).write(name, text)
    assert (tmp_path / name).read_text() == "2"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_report(tmp_path, depth_run, kind, name):
    other = place(tmp_path / "out" / name, kind)
    with pytest.raises(FileExistsError, match=name):
        run(report_program, depth_run, f"--out={tmp_path / 'out'}")
    assert other.read_bytes() == FOREIGN


def test_a_report_may_be_repeated(tmp_path, depth_run):
    for _ in range(2):
        assert run(report_program, depth_run, f"--out={tmp_path / 'out'}") == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["depth/a.png", "regions/a.png"])
def test_codec(tmp_path, depth, kind, name):
    out = tmp_path / "out"
    assert run(codec_program, "encode", depth, f"--out={tmp_path / 'coded'}") == 0
    coded = next((tmp_path / "coded").rglob("*.pdr"))
    other = place(out / name, kind)
    assert run(codec_program, "decode", coded, f"--out={out}", "--overwrite") == 1
    assert other.read_bytes() == FOREIGN
    again = tmp_path / "again"
    for _ in range(2):
        assert run(codec_program, "decode", coded, f"--out={again}", "--overwrite") == 0


def test_decoding_into_the_folder_of_the_originals_keeps_them(depth):
    before = (depth / "depth" / "a.png").read_bytes()
    assert run(codec_program, "encode", depth, f"--out={depth}", "--overwrite") == 0
    status = run(codec_program, "decode", depth, f"--out={depth}", "--overwrite")
    assert (depth / "depth" / "a.png").read_bytes() == before
    assert status in (0, 1)


@pytest.mark.parametrize("where", ["decoded", "a/b", "."])
@pytest.mark.parametrize("program", [codec_program, explore])
def test_results_in_a_folder_are_no_inputs_of_later_commands(
    tmp_path, depth, where, program, capsys
):
    """Region numbers, in particular, are never read as depth."""
    coded, out = tmp_path / "coded", tmp_path / "out"
    assert run(codec_program, "encode", depth, f"--out={coded}") == 0
    results = depth / where
    run(codec_program, "decode", coded, f"--out={results}", "--overwrite")
    for _ in range(2):
        if program is codec_program:
            run(codec_program, "encode", depth, f"--out={out}", "--overwrite")
        else:
            run(explore, depth, f"--out={out}")
        made = [path for path in out.rglob("*") if path.suffix in (".pdr", ".png")]
        # A folder that is named itself may hold decoded depth, but no regions, as depth.
        assert len(made) == (2 if where == "." else 1), made
        assert not any("regions" in str(path.relative_to(out)) for path in made)
    assert where == "." or str(results) in capsys.readouterr().out


@pytest.mark.parametrize("name", ["depth", "regions"])
def test_decoded_depth_is_depth_and_regions_are_not(tmp_path, depth, name, capsys):
    coded, decoded = tmp_path / "coded", tmp_path / "decoded"
    assert run(codec_program, "encode", depth, f"--out={coded}") == 0
    assert run(codec_program, "decode", coded, f"--out={decoded}") == 0
    (image,) = (decoded / name).rglob("*.png")
    status = run(codec_program, "encode", image, f"--out={tmp_path / 'again'}")
    assert status == (name == "regions")
    assert ("a result of this program, labels" in capsys.readouterr().out) == (name == "regions")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["table.csv", "in_a.png"])
def test_explore(tmp_path, depth, kind, name):
    other = place(tmp_path / "out" / name, kind)
    with pytest.raises(FileExistsError, match=name):
        run(explore, depth, f"--out={tmp_path / 'out'}")
    assert other.read_bytes() == FOREIGN


@pytest.mark.parametrize("name", ["w.safetensors", "w.json", "w.golden.safetensors"])
def test_weights(tmp_path, name, monkeypatch):
    (tmp_path / "w.pth").write_bytes(b"")
    monkeypatch.setattr(weights_program.reading, "read_converted", lambda path: None)
    (tmp_path / name).write_bytes(FOREIGN)
    with pytest.raises(ValueError, match=f"{name} exists"):
        run(weights_program, "convert", tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert (tmp_path / name).read_bytes() == FOREIGN
