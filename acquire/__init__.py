"""Drive the rig: find each field again, take its stack, keep the study on disk.

This room may ask ``analysis`` about images. It deliberately never imports ``devices``: a rig config names what to load.
"""
