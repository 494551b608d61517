"""Sequences of 7-Scenes: `SPACE/seq-NN/frame-000000.{color.png,depth.png,pose.txt}`.

Depth is in millimetres; 65535 marks no reading. There is no calibration.
"""

import dataclasses

from psp_jax.io.units import MM_PER_M
from psp_jax.recordings import cameras, depth_images, file_frames, listing, scan_ids, sensreader
from psp_jax.recordings.recognition import Recognised
from psp_jax.recordings.recording import Calibration


@dataclasses.dataclass(frozen=True)
class Sequence(file_frames.FileRecording):
    """A sequence, named `SPACE_seq-NN`; see `recording.Recording`."""

    def calibration(self) -> Calibration:
        """Takes nominal intrinsics."""
        size = self.first_size("depth")
        camera = cameras.SCANNET if scan_ids.is_scannet_id(self.id) else cameras.SEVEN_SCENES
        note = f"{self.id} has no _info.txt; {camera.note}"
        return Calibration(camera.intrinsics(size), size, note=note)

    def units_per_m(self) -> float:
        """Returns 1000."""
        return MM_PER_M

    def by_index(self) -> dict[int, file_frames.Files]:
        """Lists the files named after frames."""
        return sensreader.by_frame_name(listing.read(self.path))

    def correct(self) -> file_frames.Correct:
        """Returns `depth_images.without_largest`."""
        return depth_images.without_largest


def recognise(folder: listing.Listing, id: str, depth_scale: float | None) -> Recognised | None:
    """Returns the sequence of a folder that holds files such as `frame-000000.depth.png`."""
    if not sensreader.has_depth(sensreader.by_frame_name(folder)):
        return None
    return Recognised((Sequence(id, folder.path, depth_scale),))
