"""Files, digests and command lines: what every program here needs."""
