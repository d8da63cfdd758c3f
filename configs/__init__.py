"""Rig configurations that travel with the program; ``--rig simulated`` finds them by name."""
