"""``ApimartBalanceSensor``: wait until the account holds enough for the next tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart._compat import AirflowException, AirflowFailException, PokeReturnValue
from airflow_provider_apimart.client import protocol
from airflow_provider_apimart.client.errors import ApimartError, FieldProblem, InsufficientBalanceError
from airflow_provider_apimart.generation.pricing.funds import Funds, funds_refused, hopeless_text, is_hopeless
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.templates import AuthorTemplates
from airflow_provider_apimart.sensors.deferral import DeferrableSensor
from airflow_provider_apimart.triggers.balance import ApimartBalanceTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class ApimartBalanceSensor(AuthorTemplates, DeferrableSensor):
    """Wait until the account, and the quota of the key, hold an amount. Costs nothing.

    Returns (XCom) ``{"account_usd", "key_usd"}``, null where there is no limit. Temporary errors do not end the wait; a
    wrong key or host fails for good.

    :param min_usd: the amount in USD; templated, for example a table's estimate from another task.
    :param apimart_conn_id: the connection.
    :param deferrable: wait in the triggerer (``True``) or in the worker.
    :param poke_interval: seconds between two questions. A sensor's other arguments (``timeout``, ``soft_fail``,
        ``never_fail``, ``silent_fail``, ``mode``, ``execution_timeout``, ...) are Airflow's own and mean the same in
        the worker and in the triggerer; ``timeout`` counts from the try's start.
    """

    template_fields: Sequence[str] = ("min_usd", "apimart_conn_id")
    ui_color = "#e8e0ff"
    awaited = "there was enough"

    def __init__(
        self,
        *,
        min_usd: float | str,
        apimart_conn_id: str = ApimartHook.default_conn_name,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.min_usd = min_usd
        self.apimart_conn_id = apimart_conn_id
        self.deferrable = deferrable
        if not arguments.is_template(min_usd, arguments.marks_of(self)):
            self._needed()

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Return what the trigger has seen.

        :param event: the trigger's; see :class:`~airflow_provider_apimart.triggers.balance.ApimartBalanceTrigger`.
        """
        funds = event.get("funds") if isinstance(event, Mapping) else None
        if isinstance(event, Mapping) and event.get("reason") == "enough" and isinstance(funds, Mapping):
            return dict(funds)
        if isinstance(event, Mapping) and event.get("reason") == "hopeless":
            raise AirflowFailException(str(event.get("message")))
        raise AirflowException(f"The trigger's event cannot be read (another version?): {event!r}")

    def poke(self, context: Context) -> PokeReturnValue:
        """Check what account and key hold. If deferrable, defer while it is too little.

        ``execute`` is Airflow's own in both cases, so ``soft_fail`` and the like treat errors as usual.
        """
        told = self._ask()
        if self.deferrable and not told:
            self.defer(
                trigger=ApimartBalanceTrigger(
                    min_usd=str(self._needed()), poll_interval=self.poke_interval, apimart_conn_id=self.apimart_conn_id
                ),
                method_name="execute_complete",
                timeout=self._longest,
            )
        return told

    def _ask(self) -> PokeReturnValue:
        needed = self._needed()
        try:
            with ApimartHook(self.apimart_conn_id).get_conn() as client:
                account = client.send(protocol.account_balance(), repeat=False)
                funds = Funds(account, client.send(protocol.key_balance(), repeat=False))
        except InsufficientBalanceError as error:
            funds = funds_refused(error)
        except ApimartError as error:
            if is_hopeless(error):
                raise AirflowFailException(hopeless_text(error)) from error
            self.log.warning("Could not read the balance (%s); retrying.", error)
            return PokeReturnValue(is_done=False)
        self.log.info("%s", funds.told(needed))
        return PokeReturnValue(is_done=funds.cover(needed), xcom_value=funds.result())

    def _needed(self) -> Decimal:
        amount = arguments.money_of(self.min_usd)
        if amount is None:
            problem = FieldProblem("min_usd", self.min_usd, "allowed: an amount in USD, 0 or more")
            arguments.refuse(arguments.owner_of(self), [problem])
        return amount or Decimal(0)
