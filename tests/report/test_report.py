"""The report, on workdirs made by hand: finished, under way, damaged and not there."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image

from psp_jax.report import __main__ as report
from psp_jax.report import comparison, page, runs, thesis

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


def leave(folder, config, result=None, epochs=2, images=None):
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
    two = frontier_result(0.77, 0.6) | {"untrained": frontier_result(0.78, 0.55)}
    coarse = seeds | {"ceiling": {"accuracy": 0.761, "edge_bits": 0.39}}
    return [
        leave(root / "depth_bins", config_of("depth_bins"), depth_result(0.4), images=worse - 0.1),
        leave(root / "depth_mse", config_of("depth_mse"), depth_result(0.5), images=worse),
        leave(root / "frontier_edges", config_of("frontier_edges", "planar"), planar),
        leave(root / "frontier_softmax", config_of("frontier_softmax"), seeds),
        leave(root / "finetune_head", config_of("finetune_head-scannet"), coarse),
        leave(root / "again" / "weighted", config_of("weighted_ce", interior_weight=0), seeds),
        leave(root / "two_phase", config_of("two_phase"), two),
    ]


def row_of(table, name, *words):
    (row,) = [row for row in table.rows if row[0] == name and all(word in row for word in words)]
    return row


def test_the_table_has_the_figure_of_the_thesis_ours_its_interval_and_the_baseline(workdirs):
    found = runs.read(workdirs)
    assert [run.status for run in found] == ["finished"] * len(workdirs)
    order = [run.name for run in found]
    assert order[:4] == ["finetune_head", "weighted", "depth_mse", "two_phase"]
    side = comparison.make(found)[0]
    name, labels, figure, said, ours, interval, baseline, ceiling = row_of(
        side, "finetune_head", "accuracy"
    )
    assert (labels, said, ours) == ("seeds", "nearly 90 % (4.3.2)", "76.00 %")
    assert (interval, baseline, ceiling) == ("75.00 % to 77.00 %", "75.00 %", "76.10 %")
    assert row_of(side, "weighted", "accuracy")[3] == "3.21 % on training (4.3.3)"
    assert row_of(side, "frontier_edges", "accuracy")[1] == "planar"
    assert row_of(side, "depth_mse", "3.78 %")[3] == "3.78 % (4.3.4)"
    assert row_of(side, "depth_mse", "RMSE, m")[4:7] == ("0.5000", "0.4000 to 0.6000", "0.6000")
    levels = row_of(side, "depth_mse", "12.75")
    assert levels[2] == "MAD, gray levels (255 = 10 m)" and levels[3] == "below 12 (4.3.4)"


def test_questions_are_answered_by_paired_differences_on_the_same_data_only(workdirs):
    by_title = {table.title: table for table in comparison.make(runs.read(workdirs))}
    rows = by_title["Questions"].rows
    rmse = row_of(by_title["Questions"], "depth_bins", "RMSE, m")
    # Every image is better by the same, so that no resample differs.
    assert rmse[3:] == ("yes", "0.4000", "0.5000", "-0.1000 to -0.1000", "120")
    two = row_of(by_title["Questions"], "two_phase", "accuracy")
    assert two[3:6] == ("no", "77.00 %", "78.00 %")
    assert row_of(by_title["Questions"], "two_phase", "boundary F, 1 px")[3] == "yes"
    assert row_of(by_title["Questions"], "two_phase", "bits/edge")[3] == "equal"
    assert not [row for row in rows if row[0] == "frontier_edges"]  # The labels are others.


def test_what_is_not_finished_damaged_or_missing_is_named_and_counted(workdirs, tmp_path, capsys):
    root = tmp_path / "runs"
    waiting = leave(root / "waiting", config_of("depth_ce"))
    fresh = leave(root / "fresh", config_of("depth_ce"), epochs=0)
    half = leave(root / "half", config_of("depth_silog"), depth_result(0.5))
    (root / "half" / "test.json").write_text('{"abs_rel": 0.1,')
    odd = leave(root / "odd", config_of("<b>depth|"), depth_result(0.5))
    strange = {"abs_rel": 0.1, "rmse_m": float("nan"), "intervals": [], "baselines": 3}
    (root / "odd" / "test.json").write_text(json.dumps(strange))
    (root / "odd" / "test.png").write_bytes(b"\x89PNG damaged")
    list_config = leave(root / "list", config_of("depth_ce"))
    (root / "list" / "config.json").write_text("[" * 100_000)
    empty, gone = tmp_path / "empty", tmp_path / "gone"
    empty.mkdir()
    out = tmp_path / "out"
    every = [*workdirs, waiting, fresh, half, odd, list_config, str(empty), str(gone), odd]
    made = report.write(runs.read(every), out)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("14 workdirs: 8 finished")
    assert all(words in printed[0] for words in ("2 unfinished", "2 damaged", "2 missing"))
    said = "\n".join(printed)
    assert "waiting is unfinished: it was last validated at step 120 of 120" in said
    assert "fresh is unfinished: none of its 120 steps is validated" in said
    assert re.search(r"half is damaged: .*half/test.json is damaged", said)
    assert re.search(r"list is damaged: .*config.json", said)
    assert "holds no run: it has no config.json" in said and f"no folder {gone}" in said
    assert "odd: a sheet is left out" in said
    depth = next(table for table in made if table.title == "Depth")
    assert row_of(depth, "odd")[2:4] == ("0.100", comparison.NOTHING)
    assert "half" not in [row[0] for row in depth.rows]
    html = (out / report.PAGE_FILE).read_text()
    assert "half is damaged" in html and "waiting_curves.png" not in html


def test_the_page_needs_no_other_file_and_the_markdown_shows_every_picture(workdirs, tmp_path):
    out = tmp_path / "out"
    nasty = leave(tmp_path / "<script>", config_of("x"), depth_result(0.5))
    made = report.write(runs.read([*workdirs, nasty]), out)
    html, text = (out / report.PAGE_FILE).read_text(), (out / report.MARKDOWN_FILE).read_text()
    assert "<script" not in html and "&lt;script&gt;" in html
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    shown = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert sorted(shown) == sorted(path.name for path in out.glob("*.png"))
    assert html.count("<img") == len(shown) >= 2 * (len(workdirs) + 1)
    assert text.count("**Frontier classes**") == 1 == html.count("Frontier classes</h2>")
    for table in made:
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_tables_go_between_the_markers_of_a_readme(workdirs, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"# Before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    arguments = [*workdirs, f"--out={tmp_path / 'out'}", f"--readme={readme}"]
    for _ in range(2):  # Once more changes nothing.
        done = subprocess.run(
            [sys.executable, "-m", "psp_jax.report", *arguments], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        text = readme.read_text()
        assert text.startswith(f"# Before\n{page.BEGIN}\n") and text.endswith("\nafter\n")
        assert "old" not in text and "| finetune_head | seeds | accuracy |" in text
        assert text.count("**Depth**") == 1
    with pytest.raises(ValueError, match="each once"):
        page.insert("no markers", [], "")


def test_nothing_finished_is_an_error_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path / "no"), f"--out={tmp_path / 'out'}"])
    with pytest.raises(SystemExit) as ended:
        report.main()
    assert ended.value.code == 1
    assert "1 workdir: 1 missing" in capsys.readouterr().out


def test_the_thesis_says_what_is_cited():
    """Where the thesis itself is at hand."""
    path = runs.pathlib.Path(__file__).parents[3] / "shared" / "reference" / "thesis.txt"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    text = " ".join(path.read_text().split())
    for quote in ("85.72%", "3.21% on training", "3.78 test accuracy", "below 12 gray levels",
                  "60 to nearly 90%", "results do not improve"):  # fmt: skip
        assert quote in text, quote
    assert set(thesis.FIGURES) == set(thesis.SECTIONS)
