"""``make release-check``: everything that must hold before a release is published, tried on this machine.

``__main__.py`` runs the checks and lists what passed; each other file is one kind of check. What a check decides is a
pure function of names, texts or snapshots, so that the tests can show it a broken release without building one.
"""
