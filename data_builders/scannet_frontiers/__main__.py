"""Command line: `python -m data_builders.scannet_frontiers --manual_dir=... --data_dir=...`."""

import os

from absl import flags

from data_builders import command_line

_MANUAL_DIR = flags.DEFINE_string(
    "manual_dir", None, "Folder that holds scans/sceneXXXX_YY/sceneXXXX_YY.sens."
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of the prepared data sets.")
_CONFIG = flags.DEFINE_string("config", "thesis", "Way to prepare: thesis or rooms.")


def main() -> None:
    """Builds and prints what was kept, what was left out, and why."""
    if not _MANUAL_DIR.value:
        raise ValueError("--manual_dir is missing: the folder that holds scans/sceneXXXX_YY/")
    if not os.path.isdir(_MANUAL_DIR.value):
        raise FileNotFoundError(f"--manual_dir={_MANUAL_DIR.value}: there is no such folder")
    # Imported here so that --help and the checks above answer at once.
    from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset

    builder = dataset.Builder(config=dataset.config_named(_CONFIG.value), data_dir=_DATA_DIR.value)
    dataset.build(builder, manual_dir=_MANUAL_DIR.value)
    print(dataset.describe(builder))


if __name__ == "__main__":
    command_line.run(main)
