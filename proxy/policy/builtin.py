"""The rules that hold in every rule set. They only forbid, and they are part of its digest.

They are Cedar like all others, so that a decision they took can be taken again from the log alone. The
budgets of services are such rules too: the counters' values are in the decision's input.
"""

from collections.abc import Iterable, Iterator

from proxy.policy.catalogue import Service
from proxy.policy.service_budget import ServiceBudget

FILE = "builtin.cedar"
PREFIX = "gatepass."

POLICIES = b"""\
@id("gatepass.environment")
@reason("The service is not declared for the environment of this task.")
forbid(principal, action, resource)
when { resource.catalogued && !resource.environments.contains(context.task.environment) };

@id("gatepass.method_override")
@reason("A query parameter that replaces the method hides what the call does; send the method itself.")
forbid(principal, action, resource)
when {
  context.request.query_keys.containsAny(["_method", "X-HTTP-Method-Override", "x-http-method-override"])
};
"""

_BUDGET = """
@id("{id}")
@reason("The budget {name} of the service {service} is spent for this {per}.")
forbid(principal, action in Action::"{service}", resource)
when {{ context.budgets["{name}"].used >= context.budgets["{name}"].limit }};
"""


def budget_rule(service: Service, budget: ServiceBudget) -> str:
    """The ``@id`` of the rule that a budget is."""
    return f"{PREFIX}budget.{service.name}.{budget.name}"


def windows(services: Iterable[Service]) -> dict[str, int]:
    """Every budget rule and the length of its window in seconds."""
    return {budget_rule(service, budget): budget.window for service, budget in _budgets(services)}


def policies(services: Iterable[Service]) -> bytes:
    """All built-in rules for a catalogue: those above, then the budgets, by the names of the services."""
    rules = (
        _BUDGET.format(
            id=budget_rule(service, budget), name=budget.name, service=service.name, per=budget.per
        )
        for service, budget in _budgets(services)
    )
    return POLICIES + "".join(rules).encode("utf-8")


def _budgets(services: Iterable[Service]) -> Iterator[tuple[Service, ServiceBudget]]:
    for service in sorted(services, key=lambda service: service.name):
        for budget in service.budgets:
            yield service, budget
