"""The sample tables of MP4s (ISO 14496-12): read strictly from hostile files, written for joined ones.

What is not understood is :class:`.boxes.NotPlain`, and left to FFmpeg.
"""
