"""An APIMart on loopback: the HTTP contract, real MP4s, and faults on demand.

Start it by hand with ``python -m airflow_provider_apimart.emulator``, from Python with :class:`Emulator` (a thread) or
:class:`EmulatorProcess` (a child process that can be killed), and in a pytest suite with
:mod:`airflow_provider_apimart.emulator.fixtures`. Importing this package loads none of the web or media libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_apimart.emulator.control.client import EmulatorControl
    from airflow_provider_apimart.emulator.server import Emulator, EmulatorProcess, running_emulator
    from airflow_provider_apimart.emulator.state.settings import EmulatorSettings

__all__ = ["Emulator", "EmulatorControl", "EmulatorProcess", "EmulatorSettings", "running_emulator"]

_HOME = {
    "Emulator": "server",
    "EmulatorProcess": "server",
    "running_emulator": "server",
    "EmulatorControl": "control.client",
    "EmulatorSettings": "state.settings",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
