"""The rules that hold in every rule set. They only forbid, and they are part of its digest.

They are Cedar like all others, so that a decision they took can be taken again from the log alone.
"""

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
