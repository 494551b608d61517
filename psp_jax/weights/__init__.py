"""Reads published weight files into the variables of our networks, and converts them."""
