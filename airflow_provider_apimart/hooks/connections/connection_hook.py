"""What the hooks of this provider share: reading their connection, masking its secrets, the form of Airflow 3.1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException, BaseHook

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.connection_form import FORMS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection


class ConnectionHook(BaseHook):
    """A hook that reads one connection."""

    conn_name_attr: ClassVar[str]
    default_conn_name: ClassVar[str]
    conn_type: ClassVar[str]
    #: A connection as JSON and as a URI, and what to make if there is none, for messages.
    example_json: ClassVar[str]
    example_uri: ClassVar[str]
    remedy: ClassVar[str]

    @property
    def conn_id(self) -> str:
        """The connection's id."""
        return str(getattr(self, self.conn_name_attr))

    def _connection(self) -> Connection:
        with self._named_absence():
            return self.get_connection(self.conn_id)

    async def _aconnection(self) -> Connection:
        """Return the same as :meth:`_connection`, without blocking the event loop: safe in a trigger."""
        from airflow.providers.common.compat.connection import get_async_connection

        with self._named_absence():
            return await get_async_connection(self.conn_id)

    @contextmanager
    def _named_absence(self) -> Iterator[None]:
        """Raise an error of our own if Airflow cannot provide the connection: Airflow's text can hold the whole URI."""
        variable = f"AIRFLOW_CONN_{self.conn_id.upper()}"
        place = f"the environment's {variable}" if os.environ.get(variable) else "it"
        lead = f"{self.conn_name_attr}={self.conn_id!r}"
        unreadable = (
            f"{lead}: Airflow cannot read {place}; write it as JSON: {self.example_json} (in a URI every part is "
            f"percent-encoded, as in {self.example_uri})"
        )
        try:
            yield
        except AirflowNotFoundException:
            if os.environ.get(variable):
                raise ConfigurationError(unreadable) from None
            where = f"in Admin > Connections, or as {variable} in the environment of all of Airflow's processes"
            raise ConfigurationError(f"{lead}: there is no such Airflow connection; {self.remedy}, {where}") from None
        except AirflowException as error:
            if "invalid connection string" in str(error).lower():
                raise ConfigurationError(unreadable) from None
            raise
        except (ValueError, TypeError):
            raise ConfigurationError(unreadable) from None

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's labels for Airflow 3.1; later versions read them from the provider info."""
        behaviour = FORMS[cls.conn_type].behaviour
        return {name.replace("-", "_"): value for name, value in behaviour.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's extra fields for Airflow 3.1; later versions read them from the provider info."""
        from wtforms import BooleanField, IntegerField, PasswordField, StringField
        from wtforms.validators import Optional

        kinds = {"boolean": BooleanField, "integer": IntegerField, "string": StringField}
        widgets = {}
        for name, field in FORMS[cls.conn_type].fields.items():
            kind = next(kind for kind in field["schema"]["type"] if kind != "null")
            widget = PasswordField if field["schema"].get("format") == "password" else kinds[kind]
            widgets[name] = widget(field["label"], validators=[Optional()], description=field["description"])
        return widgets


def mask(secret: str) -> None:
    """Mask a secret in every log of this process."""
    from airflow.sdk.log import mask_secret

    mask_secret(secret)
