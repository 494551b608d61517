import math

from psp_jax.report import comparison, runs, seeds
from tests.report.test_report import config_of, depth_result, write_run

RMSE_M = {
    "depth_mse": (0.40, 0.44, 0.42),
    "depth_ce": (0.43, 0.45, 0.41),
    "depth_bins": (0.2, 0.21),
}


def runs_of(root):
    workdirs = [
        write_run(
            root / f"{name}-{seed}", config_of(name, of=name) | {"seed": seed}, depth_result(x)
        )
        for name, values in RMSE_M.items()
        for seed, x in enumerate(values)
    ]
    alone = config_of("depth_silog", of="silog") | {"seed": 0}
    workdirs.append(write_run(root / "depth_silog-0", alone, depth_result(0.5)))
    return runs.read(workdirs)


def test_runs_that_differ_in_the_seed_alone_have_a_mean_and_a_spread(tmp_path):
    tables = {table.title: table for table in comparison.make(runs_of(tmp_path))}
    rows = {row[0]: row for row in tables["Seeds"].rows if row[1] == "RMSE, m"}
    assert rows["depth_mse"][2:] == ("3", "0.4200", "0.0200")
    assert rows["depth_bins"][2:] == ("2", "0.2050", f"{0.005 * math.sqrt(2):.4f}")
    assert set(rows) == set(RMSE_M)


def test_a_difference_within_the_spread_is_marked(tmp_path):
    tables = {table.title: table for table in comparison.make(runs_of(tmp_path))}
    answers = {
        frozenset(row[:2]): row[-1]
        for row in tables["Differences and seeds"].rows
        if row[2] == "RMSE, m"
    }
    assert answers == {
        frozenset({"depth_mse", "depth_ce"}): "within the spread",
        frozenset({"depth_mse", "depth_bins"}): "larger",
        frozenset({"depth_ce", "depth_bins"}): "larger",
    }


def test_fields_that_do_not_touch_the_training_do_not_part_a_group(tmp_path):
    first, second = config_of("depth_mse"), config_of("depth_mse")
    second["data"]["threads"], second["validate_every"] = 8, 50
    other = config_of("depth_mse")
    other["data"]["batch_size"] = 8
    workdirs = [
        write_run(tmp_path / f"run-{seed}", config | {"seed": seed}, depth_result(0.4))
        for seed, config in enumerate((first, second, other))
    ]
    (group,) = seeds.groups(runs.read(workdirs))
    assert [run.name for run in group.runs] == ["run-0", "run-1"]
