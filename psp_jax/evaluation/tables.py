"""The figures of `test.json` as the tables that a run prints."""

TEST_FILE = "test.json"
IMAGES_FILE = "test_images.csv"


def depth_lines(result: dict) -> list[str]:
    """Formats the depth figures of `test.json` as a table."""
    ends = [{name: ends[end] for name, ends in result["intervals"].items()} for end in range(2)]
    rows = {
        "this run": result,
        "  95 % interval** from": ends[0],
        "  to": ends[1],
        "constant (training mean)": result["baselines"]["constant"],
        "mean depth image": result["baselines"]["mean_image"],
    }
    titles = "".join(f"{title:>{width}}" for _, title, width, _ in _COLUMNS)
    first = f"depth, of {result['spaces']} rooms"
    lines = [f"{first:<26}{titles}"]
    for name, row in rows.items():
        cells = (f"{row[figure]:>{width}.{digits}f}" for figure, _, width, digits in _COLUMNS)
        lines.append(f"{name:<26}{''.join(cells)}")
    return [
        *lines,
        "*  mean absolute difference in gray levels and share of pixels in the right one; "
        f"255 levels are {result['max_depth_m']} m",
        "** of the mean, by drawing rooms again; more figures are in "
        f"{TEST_FILE}, those of single images in {IMAGES_FILE}",
    ]


# Figure, title, width and digits of the table's columns.
_COLUMNS = (
    ("abs_rel", "AbsRel", 8, 3),
    ("rmse_m", "RMSE m", 9, 3),
    ("delta1", "d<1.25", 9, 3),
    ("mad_levels", "MAD levels*", 13, 2),
    ("level_accuracy", "right*", 9, 4),
)


def class_lines(result: dict) -> list[str]:
    """Formats the figures of classes of `test.json` as a table."""
    ends = [{name: ends[end] for name, ends in result["intervals"].items()} for end in range(2)]
    rows = {
        "this run": result,
        "  95 % interval** from": ends[0],
        "  to": ends[1],
        "always interior": result["baselines"]["always_interior"],
        **_beside(result),
    }
    first = f"classes, of {result['spaces']} rooms"
    titles = "".join(f"{title:>{width}}" for _, title, width in _CLASS_COLUMNS)
    lines = [f"{first:<26}{titles}"]
    for name, row in rows.items():
        cells = "".join(f"{row[figure]:>{width}.4f}" for figure, _, width in _CLASS_COLUMNS)
        lines.append(f"{name:<26}{cells}")
    lines += [
        "found: share of the frontier pixels that are not taken for interior",
        "*  the same with 0 for classes that are neither true nor predicted anywhere",
        f"** by drawing rooms again; the confusion matrix is in {TEST_FILE}, the figures of single "
        f"images in {IMAGES_FILE}",
    ]
    best = result["ceiling"]
    if best is not None:
        height, width = best["grid"]
        lines.append(
            f"*** {height}x{width} outputs, as this network has them, fitted straight to the truth "
            f"of {best['images']} images, {best['interior_share']:.4f} of them interior"
        )
    return lines


# Figure, title and width of the table's columns.
_CLASS_COLUMNS = (
    ("accuracy", "accuracy", 9),
    ("balanced_accuracy", "balanced", 10),
    ("mean_iou", "mIoU", 9),
    ("mean_iou_absent_0", "mIoU*", 9),
    ("frontier_found", "found", 9),
)


def _beside(result: dict) -> dict[str, dict]:
    """The rows below a run's own, for those that have them."""
    rows = {"parts, not yet trained": result["untrained"], "ceiling***": result["ceiling"]}
    return {name: row for name, row in rows.items() if row is not None}


def edge_lines(result: dict) -> list[str]:
    """Formats the figures of single edges and of boundary pixels of `test.json`."""
    lines = ["edges, at 0 px            bits/edge  by share alone       AP      ODS      OIS"]
    for name, row in {"this run": result, **_beside(result)}.items():
        lines.append(
            f"{name:<26}{row['edge_bits']:>9.4f}{row['edge_bits_prior']:>16.4f}"
            f"{row['edge_ap']:>9.3f}{row['edge_ods']:>9.3f}{row['edge_ois']:>9.3f}"
        )
    lines += ["", f"{'boundaries, calibrated':<26}{'F':>9}{'ODS':>9}{'OIS':>9}{'AP':>9}"]
    for name, row in {"this run": result, "parts, not yet trained": result["untrained"]}.items():
        for radius, values in row["regions"]["boundaries"].items() if row is not None else ():
            cells = "".join(f"{values[key]:>9.3f}" for key in ("f", "ods", "ois", "ap"))
            lines.append(f"{f'{name}, {radius}':<26}{cells}")
    return lines
