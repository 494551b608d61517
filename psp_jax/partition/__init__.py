"""From depth images to regions and frontier classes, on the host."""
