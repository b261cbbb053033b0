"""What makes models forget: the engine of training edits, the door to every edit, and the methods that families share.

It knows no family: a family gives a `Context`, and has methods of its own in `<family>/methods`.
"""
