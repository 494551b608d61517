"""A trained run put to use on people's own images, videos and scans."""
