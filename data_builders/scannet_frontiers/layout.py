"""Where the scans lie on disk."""

import dataclasses
import pathlib

FOLDERS = ("scans", "scans_test")  # As ScanNet's download script lays them out.


@dataclasses.dataclass(frozen=True)
class Scan:
    """One recording: its id `sceneXXXX_YY` and its `.sens` file."""

    id: str
    path: pathlib.Path


def find_scans(root: str | pathlib.Path) -> list[Scan]:
    """Finds every `<root>/scans*/sceneXXXX_YY/sceneXXXX_YY.sens`, in the order of the ids.

    Raises:
        FileNotFoundError: if there is none, with what was looked for.
    """
    root = pathlib.Path(root)
    paths = [path for folder in FOLDERS for path in (root / folder).glob("scene*_*/scene*_*.sens")]
    scans = [Scan(path.parent.name, path) for path in paths if path.stem == path.parent.name]
    if not scans:
        raise FileNotFoundError(
            f"no scans under {root}: {root}/scans/sceneXXXX_YY/sceneXXXX_YY.sens was expected. "
            "ScanNet is requested at http://www.scan-net.org (terms of use apply)"
        )
    return sorted(scans, key=lambda scan: scan.id)
