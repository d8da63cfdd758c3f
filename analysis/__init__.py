"""From stacks of one field to spines, tracks and fates.

This room works on files and arrays from any microscope. It deliberately knows nothing of Micro-Manager, of Qt, or of
how a stack was taken.
"""
