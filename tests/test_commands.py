"""Programs as processes: what they say where locale, names, devices or backends are unusual."""

import json
import os
import pathlib
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from psp_jax.io import command_line, files

ROOT = pathlib.Path(__file__).parents[1]
LATIN = os.fsdecode(b"caf\xe9")  # A name that is not UTF-8.
STRICT = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
# Character maps of locales, which also encode names of files.
LOCALES = {"C": "", "en_US.UTF-8": "UTF-8", "zh_CN.GBK": "GBK"}
PROGRAMS = (
    *("psp_jax.predict.__main__", "psp_jax.codec.__main__", "psp_jax.report.__main__"),
    *("psp_jax.explore", "psp_jax.weights.__main__", "data_builders.scannet_frontiers.__main__"),
)
# Runs commands one after the other, as processes of their own would, and prints each status.
RUNNER = """
import importlib, json, os, pathlib, sys
from psp_jax.io import command_line
for name, *arguments in json.loads(pathlib.Path("commands.json").read_text(encoding="utf-8")):
    sys.argv = [name, *(os.fsdecode(bytes.fromhex(each)) for each in arguments)]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="strict")
    program = importlib.import_module(name)
    try:
        command_line.run(program.main, program.parser())
    except SystemExit as done:
        print(f"status {done.code} of {name}", flush=True)
"""


@pytest.fixture(
    params=[
        "zh_CN.GBK",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("C", "en_US.UTF-8")),
    ]
)
def locale(request, tmp_path):
    """The environment variables of a locale, and how it encodes the names of files."""
    name, encoding = request.param, LOCALES[request.param]
    if not encoding:
        return {"LC_ALL": name, **STRICT}, "utf-8"
    made = tmp_path / "locales" / name
    made.parent.mkdir()
    language = name.partition(".")[0]
    command = ["localedef", "-i", language, "-f", encoding, "--no-archive", str(made)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"localedef can't make {name}: {error}")
    return {"LC_ALL": name, "LOCPATH": str(made.parent), **STRICT}, encoding


def run(module, *arguments, cwd, **environment):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, capture_output=True, cwd=cwd, env=variables)


def assert_one_line(done, status, *words):
    lines = done.stderr.strip().splitlines()
    assert done.returncode == status and len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


def commands(cwd, environment, listed):
    """Runs commands in one process; returns their statuses and the process."""
    hexed = [[name, *(os.fsencode(each).hex() for each in given)] for name, *given in listed]
    (cwd / "commands.json").write_text(json.dumps(hexed))
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", RUNNER]
    done = subprocess.run(command, capture_output=True, cwd=cwd, env=variables)
    statuses = re.findall(rb"^status (\d+) of", done.stdout, re.MULTILINE)
    return list(map(int, statuses)), done


def test_names_and_files_are_right_in_every_locale(tmp_path, edges_run, locale):
    """Good and damaged files, in a folder whose names suit no locale or only this one."""
    environment, encoding = locale
    chinese = os.fsdecode("你好".encode(encoding))
    folder = tmp_path / f"{LATIN} {chinese}"
    depth_mm = np.full((48, 64), 2000, np.uint16)
    depth_mm[:, 30:] = 3000
    photo = np.full((48, 64, 3), 90, np.uint8)
    for kind, pixels in (("depth", depth_mm), ("photos", photo)):
        (folder / kind).mkdir(parents=True)
        good = folder / kind / f"{LATIN} {chinese}.png"
        good.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        (folder / kind / f"{chinese}{LATIN}.png").write_bytes(b"nothing")
    out, page = tmp_path / f"out {LATIN}", tmp_path / "page.md"
    page.write_text("# é 你好\n<!-- report:begin -->\n<!-- report:end -->\n", encoding="utf-8")
    missing = tmp_path / f"{LATIN} {chinese} missing"
    predict = [folder / "photos", f"--workdir={edges_run}", f"--out={out}/predicted"]
    statuses, done = commands(
        tmp_path,
        environment,
        [
            ["psp_jax.codec.__main__", "encode", folder / "depth", f"--out={out}/coded"],
            ["psp_jax.predict.__main__", *predict, "--outputs=overlay,regions", "--page"],
            ["psp_jax.report.__main__", edges_run, missing, "--out=report", f"--into={page}"],
            *([name, "--help"] for name in PROGRAMS),
        ],
    )
    assert b"Traceback" not in done.stderr, done.stderr
    assert statuses == [1, 1, 1, *(0 for _ in PROGRAMS)], done.stdout + done.stderr
    assert done.stdout.count(b"1 skipped") == 2
    for suffix in (".pdr", ".jpg", ".png"):
        made = {path.stem for path in out.rglob(f"*{suffix}")}
        assert made == {f"{LATIN} {chinese}"}, suffix
    for path in (tmp_path / "report" / "report.html", tmp_path / "report" / "report.md", page):
        text = path.read_text(encoding="utf-8")
        assert "你好 missing" in text, path
        assert path != page or "# é 你好" in text
    index = (out / "predicted" / "page" / "index.html").read_text(encoding="utf-8")
    assert "caf" in index


@pytest.mark.parametrize(
    ("command", "platforms"), [("main", "nosuch"), ("predict", "cuda"), ("calibrate", "cuda")]
)
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


def test_programs_import_without_a_word():
    """Other tests run them in a process that has imported everything."""
    programs = (*PROGRAMS, "psp_jax.calibrate", "psp_jax.evaluate", "data_builders.rooms.__main__")
    done = subprocess.run(
        [sys.executable, "-c", f"import {', '.join(programs)}"], capture_output=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


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
        ("open('nowhere')", 2, [b"error: nowhere: No such file or directory"]),
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
