"""Reads RGB-D recordings from disk, in any of the layouts listed in `layouts`.

    from psp_jax.recordings import layouts

    for recording in layouts.survey("FOLDER").recordings:
        intrinsics = recording.calibration().intrinsic_depth
        for frame in recording.frames(stride=30):
            depth_mm = frame.read_depth()

To support another layout, implement `recording.Recording` in a module with a function `recognise`,
and add it to `layouts.LAYOUTS`.
"""
