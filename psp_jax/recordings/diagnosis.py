"""Says what a folder holds that no layout recognises."""

import pathlib

from psp_jax.recordings import depth_images, images, listing, pairs, scan_ids, sensreader

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
_IMAGE_FOLDERS = {*pairs.COLOR_FOLDERS, *pairs.DEPTH_FOLDERS, *sensreader.KINDS, "lowres_wide"}
_CLOUDS = (".ply", ".pth", ".npy", ".npz", ".bin", ".pcd", ".las", ".obj", ".glb", ".usdz")
_NO_CLOUD = "a mesh or point cloud without frames"
CONTAINERS = {
    ".zip": "a zip file: unpack it",
    ".tar": "a tar file: unpack it",
    ".gz": "a gzip file: unpack it",
    ".tgz": "a gzip file: unpack it",
    ".7z": "an archive: unpack it",
    ".rar": "an archive: unpack it",
    ".bag": "a ROS bag: export its images, as 16-bit PNG for depth",
    ".mcap": "a ROS bag: export its images, as 16-bit PNG for depth",
    ".db3": "a ROS bag: export its images, as 16-bit PNG for depth",
    ".r3d": "a Record3D archive, whose depth needs LZFSE: export EXR + RGB",
    ".klg": "a log of Logger1: convert it to PNG",
    ".oni": "a log of OpenNI: convert it to PNG",
    ".svo": "a recording of ZED: export its images with ZED's tools",
}


def holds_images(folder: pathlib.Path) -> bool:
    """Returns whether the name of a folder is one for images of its parent."""
    return folder.name.lower() in _IMAGE_FOLDERS


def content_of(folder: listing.Listing) -> str:
    """Says what looks like a recording in a folder that no layout recognises; empty if nothing."""
    color, depth = folder.folder(*pairs.COLOR_FOLDERS), folder.folder(*pairs.DEPTH_FOLDERS)
    if color and depth:
        return f"no images in {color.name}/, or none in {depth.name}/"
    if color:
        return f"colour in {color.name}/ without a depth/ folder"
    if depth and folder.having(VIDEO_SUFFIXES):
        return f"depth in {depth.name}/ with a video; extract its frames into rgb/ with ffmpeg"
    if depth:
        return f"depth in {depth.name}/ without a folder of colour (rgb, color or image)"
    if pictures := folder.having((*images.SUFFIXES, *depth_images.SUFFIXES[:-2])):
        return f"{len(pictures)} images without a depth image each, such as {pictures[0].name}"
    if clouds := folder.having(_CLOUDS):
        return f"{clouds[0].name} is {_NO_CLOUD}"
    if any("tfrecord" in f"{path.parent.name}/{path.name}" for path in folder.files):
        return "TFRecords of another schema"
    if scan_ids.is_scannet_id(folder.path.name) and not folder.folders:
        return "no frames" if folder.files else "an empty folder"
    return ""
