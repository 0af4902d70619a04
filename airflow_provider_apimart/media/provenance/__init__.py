"""Says in the file itself that a video was made by AI: IPTC properties in XMP, and, with a signer, a C2PA manifest.

* ``pieces.py``: what a file is and what it was made of.
* ``signer.py``: certificates and keys, checked before anything is signed.
* ``xmp.py``, ``mp4.py``, ``images.py``, ``marking.py``: XMP, which needs no extra.
* ``manifest.py``, ``signing.py``: C2PA, by c2pa-python (the extra ``provenance``).
* ``job.py``: what runs in the child process.
"""
