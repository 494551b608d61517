"""Units of depth: uint16 millimetres in files and partitions, float32 metres elsewhere."""

MM_PER_M = 1000.0
