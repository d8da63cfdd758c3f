"""From the tables of a study to its figures: what all fields, animals and groups say together.

Reads tables, never pixels, and knows no rig. ``tables`` holds a study, ``intervals`` says what became of every spine
between two sessions, one module an analysis answers one question, ``figures`` draws and writes all of them.
"""
