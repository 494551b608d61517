"""Tests the report on handmade workdirs: finished, unfinished, damaged and missing."""

import json
import pathlib
import re

import numpy as np
import pytest
from matplotlib import image

from psp_jax.io import command_line
from psp_jax.report import __main__ as report
from psp_jax.report import comparison, page, runs

DEPTH = {"mean_image": 0.6, "constant": 0.7}


def config_of(name, labels="seeds", **objective):
    return {
        "name": name,
        "objective": objective,
        "data": {"labels": labels, "source": {"seed": 0}},
        "phases": [{"steps": 100}, {"steps": 20}],
    }


def depth_result(rmse_m):
    return {
        "abs_rel": rmse_m / 4,
        "rmse_m": rmse_m,
        "mad_levels": 25.5 * rmse_m,
        "level_accuracy": 0.0378,
        "max_depth_m": 10.0,
        "intervals": {"rmse_m": [rmse_m - 0.1, rmse_m + 0.1]},
        "baselines": {name: {"rmse_m": value} for name, value in DEPTH.items()},
    }


def frontier_result(accuracy, f_1px, interior=0.75):
    partition = {"regions": 9.0, "ari": 0.5, "f_1px": f_1px}
    return {
        "accuracy": accuracy,
        "interior_share": interior,
        "edge_bits": 0.4,
        "intervals": {"accuracy": [accuracy - 0.01, accuracy + 0.01]},
        "baselines": {"always_interior": {"accuracy": interior}},
        "regions": {"partitions": {"decoded frontiers": partition, "SLIC on RGB": {"f_1px": 0.4}}},
    }


def write_run(folder, config, result=None, epochs=2, images=None):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    kind = "accuracy" if result and "accuracy" in result else "rmse_m"
    lines = [
        {"step": 60 * (i + 1), "epoch": i + 1.0, "train_loss": 1 / (i + 1), "validation_loss": 0.9}
        | {f"validation_{kind}": 0.5, "validation_interior_share": 0.4}
        for i in range(epochs)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 180, "tra')
    if result is not None:
        (folder / "test.json").write_text(json.dumps(result))
        image.imsave(folder / "test.png", np.random.default_rng(0).random((8, 9, 3)))
    if images is not None:
        rows = [f"space{i // 2},scan{i},7,{value}" for i, value in enumerate(images)]
        header = "space_id,scene_id,frame_index,rmse_m"
        (folder / "test_images.csv").write_text("\n".join([header, *rows]) + "\n")
    return str(folder)


@pytest.fixture
def workdirs(tmp_path):
    root = tmp_path / "runs"
    rng = np.random.default_rng(0)
    worse = rng.uniform(0.4, 0.6, 40)
    seeds, planar = frontier_result(0.76, 0.5), frontier_result(0.96, 0.8, 0.95)
    two = frontier_result(0.77, 0.6) | {"parts_before_joint_training": frontier_result(0.78, 0.55)}
    coarse = seeds | {"oracle": {"accuracy": 0.761, "edge_bits": 0.39}}
    return [
        write_run(
            root / "depth_bins", config_of("depth_bins"), depth_result(0.4), images=worse - 0.1
        ),
        write_run(root / "depth_mse", config_of("depth_mse"), depth_result(0.5), images=worse),
        write_run(root / "frontier_edges", config_of("frontier_edges", "planar"), planar),
        write_run(root / "frontier_softmax", config_of("frontier_softmax"), seeds),
        write_run(root / "finetune_head", config_of("finetune_head-scannet"), coarse),
        write_run(root / "again" / "weighted", config_of("weighted_ce", interior_weight=0), seeds),
        write_run(root / "two_phase", config_of("two_phase"), two),
    ]


def row_of(table, name, *cells):
    (row,) = [row for row in table.rows if row[0] == name and all(cell in row for cell in cells)]
    return row


def test_the_table_compares_results_with_the_thesis_the_baseline_and_the_oracle(workdirs):
    all_runs = runs.read(workdirs)
    assert [run.status for run in all_runs] == ["finished"] * len(workdirs)
    order = [run.name for run in all_runs]
    assert order[:4] == ["finetune_head", "weighted", "depth_mse", "two_phase"]
    table = comparison.make(all_runs)[0]
    _, labels, _, reported, ours, interval, baseline, oracle = row_of(
        table, "finetune_head", "accuracy"
    )
    assert (labels, reported, ours) == ("seeds", "nearly 90 % (4.3.2)", "76.00 %")
    assert (interval, baseline, oracle) == ("75.00 % to 77.00 %", "75.00 %", "76.10 %")
    assert row_of(table, "weighted", "accuracy")[3] == "3.21 % on training (4.3.3)"
    assert row_of(table, "frontier_edges", "accuracy")[1] == "planar"
    assert row_of(table, "depth_mse", "3.78 %")[3] == "3.78 % (4.3.4)"
    assert row_of(table, "depth_mse", "RMSE, m")[4:7] == ("0.5000", "0.4000 to 0.6000", "0.6000")
    levels = row_of(table, "depth_mse", "12.75")
    assert levels[2] == "MAD, gray levels (255 = 10 m)" and levels[3] == "below 12 (4.3.4)"


def test_runs_are_compared_by_paired_differences_on_the_same_data_only(workdirs):
    by_title = {table.title: table for table in comparison.make(runs.read(workdirs))}
    table = by_title["Comparisons"]
    rmse = row_of(table, "depth_bins", "RMSE, m")
    # Every image is better by the same, so that no resample differs.
    assert rmse[3:] == ("yes", "0.4000", "0.5000", "-0.1000 to -0.1000", "120")
    two = row_of(table, "two_phase", "accuracy")
    assert two[3:6] == ("no", "77.00 %", "78.00 %")
    assert row_of(table, "two_phase", "boundary F, 1 px")[3] == "yes"
    assert row_of(table, "two_phase", "bits/edge")[3] == "equal"
    assert not [row for row in table.rows if row[0] == "frontier_edges"]  # Other labels.


def test_unfinished_damaged_and_missing_runs_are_listed_and_counted(workdirs, tmp_path, capsys):
    root = tmp_path / "runs"
    waiting = write_run(root / "waiting", config_of("depth_ce"))
    fresh = write_run(root / "fresh", config_of("depth_ce"), epochs=0)
    half = write_run(root / "half", config_of("depth_silog"), depth_result(0.5))
    (root / "half" / "test.json").write_text('{"abs_rel": 0.1,')
    odd = write_run(root / "odd", config_of("<b>depth|"), depth_result(0.5))
    strange = {"abs_rel": 0.1, "rmse_m": float("nan"), "intervals": [], "baselines": 3}
    (root / "odd" / "test.json").write_text(json.dumps(strange))
    (root / "odd" / "test.png").write_bytes(b"\x89PNG damaged")
    list_config = write_run(root / "list", config_of("depth_ce"))
    (root / "list" / "config.json").write_text("[" * 100_000)
    empty, gone = tmp_path / "empty", tmp_path / "gone"
    empty.mkdir()
    out = tmp_path / "out"
    every = [*workdirs, waiting, fresh, half, odd, list_config, str(empty), str(gone), odd]
    tables = report.write(runs.read(every), out).tables
    printed = capsys.readouterr().out
    first = printed.splitlines()[0]
    assert first.startswith("14 workdirs: 8 finished")
    assert all(count in first for count in ("2 unfinished", "2 damaged", "2 missing"))
    assert "waiting is unfinished: validated up to step 120 of 120" in printed
    assert "fresh is unfinished: validated up to step 0 of 120" in printed
    assert re.search(r"half is damaged: .*half/test.json", printed)
    assert re.search(r"list is damaged: .*config.json", printed)
    assert re.search(r"empty is missing: .*config.json", printed)
    assert re.search(rf"gone is missing: .*{gone}", printed)
    assert re.search(r"^odd: .*test.png", printed, re.MULTILINE)
    depth = next(table for table in tables if table.title == "Depth")
    assert row_of(depth, "odd")[2:4] == ("0.1000", comparison.NOTHING)
    assert "half" not in [row[0] for row in depth.rows]
    html = (out / report.PAGE_FILE).read_text()
    assert "half is damaged" in html and "waiting_curves.png" not in html


def test_the_page_needs_no_other_file_and_the_markdown_shows_every_picture(workdirs, tmp_path):
    out = tmp_path / "out"
    nasty = write_run(tmp_path / "<script>", config_of("x"), depth_result(0.5))
    tables = report.write(runs.read([*workdirs, nasty]), out).tables
    html, text = (out / report.PAGE_FILE).read_text(), (out / report.MARKDOWN_FILE).read_text()
    assert "<script" not in html and "&lt;script&gt;" in html
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    shown = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert sorted(shown) == sorted(path.name for path in out.glob("*.png"))
    assert html.count("<img") == len(shown) >= 2 * (len(workdirs) + 1)
    assert text.count("**Frontier classes**") == 1 == html.count("Frontier classes</h2>")
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the program; returns its status and output."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["report", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command_line.run(report.main, report.parser())
        return ended.value.code, "".join(capsys.readouterr())

    return run


def test_tables_go_between_the_markers_of_a_file(workdirs, tmp_path, run):
    path = tmp_path / "results.md"
    path.write_text(f"# Before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    for _ in range(2):  # Repeating it changes nothing.
        status, output = run(*workdirs, f"--out={tmp_path / 'out'}", f"--into={path}")
        assert status == 0, output
        text = path.read_text()
        assert text.startswith(f"# Before\n{page.BEGIN}\n") and text.endswith("\nafter\n")
        assert "old" not in text
        assert "\n| finetune_head | seeds | accuracy |" in text
        assert re.search(r"^\|(:-+\|){4}(-+:\|){4}$", text, re.MULTILINE)  # Numbers to the right.
        assert text.count("**Depth**") == 1
    path.write_text("no markers")
    status, output = run(*workdirs, f"--out={tmp_path / 'out'}", f"--into={path}")
    assert status == 2 and f"--into={path}: expected {page.BEGIN}" in output
    assert path.read_text() == "no markers"


def test_the_status_is_1_without_a_finished_run(tmp_path, run):
    status, output = run(tmp_path / "no", f"--out={tmp_path / 'out'}")
    assert status == 1 and "1 workdir: 1 missing" in output


def test_the_thesis_contains_what_is_cited():
    """Needs the thesis itself."""
    path = pathlib.Path(__file__).parents[3] / "shared" / "reference" / "thesis.txt"
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    text = " ".join(path.read_text().split())
    for quote in ("85.72%", "3.21% on training", "3.78 test accuracy", "below 12 gray levels",
                  "60 to nearly 90%", "results do not improve"):  # fmt: skip
        assert quote in text, quote
