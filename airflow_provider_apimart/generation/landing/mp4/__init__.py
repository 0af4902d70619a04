"""Reads the boxes of an MP4 (ISO 14496-12) to distinguish a whole video from anything else: :func:`read_mp4`."""

from airflow_provider_apimart.generation.landing.mp4.boxes import MAX_BOXES
from airflow_provider_apimart.generation.landing.mp4.verdict import MediaInfo, read_mp4

__all__ = ["MAX_BOXES", "MediaInfo", "read_mp4"]
