"""The app behind ``/apimart`` and its routes, a file for each kind of answer."""
