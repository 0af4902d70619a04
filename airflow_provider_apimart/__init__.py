"""Apache Airflow provider for APIMart's Veo video generation."""

from __future__ import annotations

__version__ = "0.1.0"
