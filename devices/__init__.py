"""Simulated microscope devices that all look at one sample.

This room knows optics, tissue and Micro-Manager's Python device classes. It deliberately knows nothing of studies,
relocation or analysis: the program under test sees only what a real rig would show it.
"""
