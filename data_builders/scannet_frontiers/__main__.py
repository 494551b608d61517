"""Command line: `python -m data_builders.scannet_frontiers --manual_dir=... --data_dir=...`."""

import os
import sys

from absl import app, flags

_MANUAL_DIR = flags.DEFINE_string(
    "manual_dir", None, "Folder that holds scans/sceneXXXX_YY/sceneXXXX_YY.sens.", required=True
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of the prepared data sets.")
_CONFIG = flags.DEFINE_string("config", "thesis", "Way to prepare: thesis or rooms.")


def main(argv: list[str]) -> None:
    """Builds and prints what was kept, what was left out, and why."""
    # Imported here so that --help and misspelt flags answer at once.
    from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset

    try:
        if len(argv) > 1:
            raise ValueError(f"unexpected argument {argv[1]!r}; see --help")
        config = dataset.config_named(_CONFIG.value)
        if not os.path.isdir(_MANUAL_DIR.value):
            raise FileNotFoundError(f"--manual_dir={_MANUAL_DIR.value}: there is no such folder")
        builder = dataset.Builder(config=config, data_dir=_DATA_DIR.value)
        dataset.build(builder, manual_dir=_MANUAL_DIR.value)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(dataset.describe(builder))


if __name__ == "__main__":
    app.run(main)
