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
  allow_private:                   # loopback is closed; these two destinations are opened
    - {{host: orders.demo.test, cidr: 127.0.0.0/8, port: {port}}}
    - {{host: collect.demo.test, cidr: 127.0.0.0/8, port: {port}}}
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
credential:
  provider: env
  name: ORDERS_API_KEY             # gatepass reads the real key here; the agent finds a placeholder
"""
POLICIES = """\
@id("orders.read")
permit (principal in Tier::"standard", action in Action::"read", resource in Service::"orders")
when { context.task.scopes.contains("orders:read") };

@id("orders.write")
permit (principal in Tier::"standard", action in Action::"write", resource in Service::"orders")
when { context.task.scopes.contains("orders:write") };

@id("orders.write-needs-scope")
@reason("writing orders needs the scope orders:write, and this task was given orders:read")
forbid (principal, action in Action::"write", resource in Service::"orders")
unless { context.task.scopes.contains("orders:write") };
"""


def write(directory: Path, port: int) -> None:
    """Write everything."""
    for folder in ("policies", "services"):
        (directory / "rules" / folder).mkdir(parents=True)
    (directory / "rules" / "agents.yaml").write_text(AGENTS)
    (directory / "rules" / "services" / "orders.yaml").write_text(SERVICE.format(port=port))
    (directory / "rules" / "policies" / "orders.cedar").write_text(POLICIES)
    (directory / "gatepass.yaml").write_text(CONFIG.format(port=port))
