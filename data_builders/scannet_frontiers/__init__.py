"""The `scannet_frontiers` data set: RGB, filled depth and frontier classes of RGB-D scans."""
