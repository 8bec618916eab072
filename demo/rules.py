"""The demo's configuration and rules, as an operator would write them."""

from pathlib import Path

CONFIG = """\
state: state
rules: rules
upstream:
  roots: roots                     # the API's own CA
  hosts:                           # static names: the demo needs no DNS
    orders.demo.test: ["127.0.0.1"]
    collect.demo.test: ["127.0.0.1"]
    tools.demo.test: ["127.0.0.1"]
  allow_private:                   # loopback is closed; these destinations are opened
    - {{host: orders.demo.test, cidr: 127.0.0.0/8, port: {port}}}
    - {{host: collect.demo.test, cidr: 127.0.0.0/8, port: {port}}}
    - {{host: tools.demo.test, cidr: 127.0.0.0/8, port: {port}}}
policy:
  reload: 0.2                      # seconds
approvals:
  wait: 60                         # seconds that a call is held for a person
"""
AGENTS = """\
agents:
  - id: buyer
    environment: development
    tier: standard
    business_owner: ada@example.org
    data_owner: grace@example.org
    purpose: looks after orders
  - id: clerk
    environment: development
    tier: standard
    business_owner: ada@example.org
    data_owner: grace@example.org
    purpose: helps the buyer
  - id: cashier
    environment: development
    tier: standard
    business_owner: ada@example.org
    data_owner: grace@example.org
    purpose: pays refunds
"""
SERVICE = """\
name: orders
hosts: [orders.demo.test]
ports: [{port}]
owner: ada@example.org
data_owner: grace@example.org
sensitivity: internal
environments: [development]
operations:
  list: {{group: read, method: GET, path: /v1/orders}}
  watch: {{group: read, method: GET, path: /v1/orders/watch}}
  create: {{group: write, method: POST, path: /v1/orders}}
  refund:
    group: write
    method: POST
    path: "/v1/orders/{{id}}/refunds"
    facts: {{body: {{amount: long}}}}  # what rules may read of the content
credential:
  provider: env
  name: ORDERS_API_KEY             # gatepass reads the real key here; the agent finds a placeholder
"""
TOOLS = """\
name: tools
hosts: [tools.demo.test]
ports: [{port}]
owner: ada@example.org
data_owner: grace@example.org
sensitivity: internal
environments: [development]
protocol: mcp
operations:
  search: {{group: read, tool: search_orders}}
  cancel: {{group: delete, tool: cancel_order}}
budgets:
  daily: {{per: task, window: 1d, requests: 4}}
"""
POLICIES = """\
@id("orders.read")
@owner("ada@example.org")
permit (principal in Tier::"standard", action in Action::"read", resource in Service::"orders")
when { context.task.scopes.contains("orders:read") };

@id("orders.write")
@owner("ada@example.org")
permit (principal in Tier::"standard", action == Action::"orders.create", resource in Service::"orders")
when { context.task.scopes.contains("orders:write") };

@id("orders.write-needs-scope")
@reason("writing orders needs the scope orders:write, and this task was given orders:read")
forbid (principal, action == Action::"orders.create", resource in Service::"orders")
unless { context.task.scopes.contains("orders:write") };

@id("tools.search")
@owner("ada@example.org")
permit (
  principal in Tier::"standard",
  action in [Action::"tools.mcp.list", Action::"tools.search"],
  resource in Service::"tools"
)
when { context.task.scopes.contains("orders:read") };
"""
REFUNDS = """\
@id("orders.refund")
@owner("ada@example.org")
permit (principal == Agent::"cashier", action == Action::"orders.refund", resource in Service::"orders")
when { context.task.scopes.contains("orders:refund") }
when { context.facts.body.amount <= 100 || context.approved };
"""
LIMIT = """\
@id("orders.refund-limit")
@reason("Nobody refunds more than 1000 here, whoever approves; ask for a credit note.")
forbid (principal, action == Action::"orders.refund", resource)
when { context.facts.body.amount > 1000 };
"""


def write(directory: Path, port: int) -> None:
    """Write everything."""
    for folder in ("policies", "services"):
        (directory / "rules" / folder).mkdir(parents=True)
    (directory / "rules" / "agents.yaml").write_text(AGENTS)
    (directory / "rules" / "services" / "orders.yaml").write_text(SERVICE.format(port=port))
    (directory / "rules" / "services" / "tools.yaml").write_text(TOOLS.format(port=port))
    (directory / "rules" / "policies" / "orders.cedar").write_text(POLICIES)
    (directory / "rules" / "policies" / "refunds.cedar").write_text(REFUNDS)
    (directory / "gatepass.yaml").write_text(CONFIG.format(port=port))
