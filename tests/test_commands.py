"""Programs as processes: what they say where locale, names, devices or backends are unusual."""

import os
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from psp_jax.io import command_line, files

ROOT = pathlib.Path(__file__).parents[1]
LATIN = os.fsdecode(b"caf\xe9")  # A name that is not UTF-8.
LOCALES = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "UTF-8": {"LC_ALL": "C.UTF-8"},
    "GBK": {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "gbk",
    },
}


def run(module, *arguments, cwd, **environment):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, capture_output=True, cwd=cwd, env=variables)


def assert_one_line(done, status, *words):
    lines = done.stderr.strip().splitlines()
    assert done.returncode == status and len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("locale", LOCALES)
def test_any_name_can_be_coded_listed_and_written(tmp_path, locale):
    """One good file and one that is damaged, in a folder whose names suit no locale."""
    folder = tmp_path / f"{LATIN} 你好" / "depth"
    folder.mkdir(parents=True)
    depth_mm = np.full((48, 64), 2000, np.uint16)
    depth_mm[:, 30:] = 3000
    good, bad = folder / f"{LATIN}.png", folder / f"ü{LATIN}.png"
    good.write_bytes(cv2.imencode(".png", depth_mm)[1].tobytes())
    bad.write_bytes(b"nothing")
    out = tmp_path / f"out {LATIN}"
    done = run("psp_jax.codec", "encode", folder, f"--out={out}", cwd=tmp_path, **LOCALES[locale])
    assert done.returncode == 1, done.stderr
    assert b"1 skipped" in done.stdout and b"Traceback" not in done.stderr
    assert [path.name for path in out.rglob("*.pdr")] == [f"{LATIN}.pdr"]


@pytest.mark.parametrize("locale", LOCALES)
def test_a_report_is_utf8_in_every_locale(tmp_path, depth_run, locale):
    page = tmp_path / "page.md"
    page.write_text("# é 你好\n<!-- report:begin -->\n<!-- report:end -->\n", encoding="utf-8")
    missing = tmp_path / f"{LATIN} 你好"
    done = run(
        *("psp_jax.report", depth_run, missing, "--out=report", f"--into={page}"),
        cwd=tmp_path,
        **LOCALES[locale],
    )
    assert done.returncode == 1 and b"Traceback" not in done.stderr, done.stderr
    for path in (tmp_path / "report" / "report.html", tmp_path / "report" / "report.md", page):
        assert "你好" in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("platforms", ["cuda", "nosuch"])
@pytest.mark.parametrize("command", ["main", "predict", "calibrate"])
def test_an_absent_device_is_named_in_one_line(tmp_path, edges_run, command, platforms):
    image = tmp_path / "image.png"
    image.write_bytes(cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes())
    arguments = {
        "main": [f"--config={ROOT / 'configs' / 'depth_mse.py'}", "--workdir=run"],
        "predict": [f"--workdir={edges_run}", image, "--out=out"],
        "calibrate": [f"--workdir={edges_run}"],
    }
    done = run(f"psp_jax.{command}", *arguments[command], cwd=tmp_path, JAX_PLATFORMS=platforms)
    assert_one_line(done, 2, f"JAX_PLATFORMS={platforms}".encode())


@pytest.mark.parametrize("backend", ["nosuch", "module://nosuch.backend"])
def test_the_backend_of_a_notebook_is_not_needed(tmp_path, backend):
    code = "from psp_jax.evaluation import plots; plots.Figure().savefig('a.png')"
    environment = {**os.environ, "MPLBACKEND": backend, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    assert (tmp_path / "a.png").exists()


PROGRAM = """
import sys
from psp_jax.io import command_line
def main(arguments):
    {}
command_line.run(main, command_line.Parser(prog="test", description=None), resumes=True)
"""


def program(tmp_path, statement):
    command = [sys.executable, "-c", PROGRAM.format(statement)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    return subprocess.run(command, capture_output=True, env=environment)


@pytest.mark.parametrize(
    ("statement", "status", "words"),
    [
        ("raise ValueError('no such field')", 2, [b"error: no such field"]),
        ("open('nowhere')", 2, [b"nowhere"]),
        ("raise FloatingPointError('loss is nan')", 2, [b"loss is nan"]),
        ("raise KeyboardInterrupt", 130, [b"run the same command again"]),
        ("{}['a']", 70, [b"unexpected KeyError", b"report"]),
        ("assert False", 70, [b"unexpected AssertionError"]),
        ("raise RuntimeError('first\\nsecond')", 70, [b"RuntimeError: first."]),
        ("raise ValueError('caf\\udce9')", 2, [b"caf\\udce9"]),
    ],
)
def test_every_error_is_one_line_with_its_status(tmp_path, statement, status, words):
    done = program(tmp_path, statement)
    assert_one_line(done, status, *words)
    reports = list(tmp_path.glob("psp_jax_*.txt"))
    assert len(reports) == (status == command_line.UNEXPECTED)
    for report in reports:
        assert str(report).encode() in done.stderr
        assert "Traceback" in report.read_text(encoding="utf-8")


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    done = program(tmp_path, "sys.stdout.close(); raise BrokenPipeError")
    assert done.returncode == 141 and b"Traceback" not in done.stderr, done.stderr


def test_text_with_any_name_can_be_written(tmp_path):
    files.write(tmp_path / LATIN, f"<a>{LATIN} 你好</a>")
    assert (tmp_path / LATIN).read_text(encoding="utf-8") == "<a>caf\\xe9 你好</a>"


def test_a_path_that_is_taken_gets_a_number(tmp_path):
    names = []
    for _ in range(3):
        path = files.unused(tmp_path / "a.txt")
        path.touch()
        names.append(path.name)
    assert names == ["a.txt", "a-2.txt", "a-3.txt"]
