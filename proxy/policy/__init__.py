"""Whether this one request may leave, and by which rule.

Promises: an allow needs a permit, no forbid and no evaluation error; no rule means no. What a call does is
read in one way or refused, never guessed; what no rule reads is not looked at. What was evaluated is handed
back as canonical bytes without any secret, so that the decision can be taken again offline and comes out the
same. Rules that do not validate are never loaded (``cedar``).

Refuses to know: who proved to be whom (``identity``), credentials' values, where rules, approvals and
counters are kept, and what time it is.

The way in, in the order in which a call meets it:

* the catalogue: ``catalogue``, ``service_file`` and the ``*_entry`` files (what services there are),
  ``operation``, ``template``, ``path_tree``, ``matching``, ``builtin_operations`` (what they do);
* what a call does: ``content`` (the values), ``classify``, and for each way to speak ``rest``, ``mcp``,
  ``graphql`` with ``graphql_*``, ``grpc``, ``aws``, ``llm``; ``strict_json``, ``media``, ``spelling`` and
  ``fields`` read strictly for them; ``mcp_answer``, ``mcp_refusal`` and ``llm_usage`` look at answers;
* the decision: ``decision`` (the values), ``document``, ``schema`` with ``fact_schema`` (what Cedar is
  given), ``statement``, ``annotations``, ``load`` with ``validation``, ``lint`` (the rules), ``scope``,
  ``reads``, ``needs``, ``slices`` (what of them a call has to do with), ``cedar`` with ``shape``,
  ``verdict``, ``possible``; ``observe`` where there are no rules, ``shadow`` where there are two sets,
  ``elsewhere`` where somebody else decides;
* what follows: ``obligation``, ``approval`` with ``request_digest`` and ``repeatable``, ``service_budget``
  with ``window``, ``tally`` and ``price``; ``bundle``, ``manifest`` and ``signature`` of the rule set itself;
* for the people who write rules: ``case_*`` and ``cases``, ``trial``, ``explain`` with ``conditions``,
  ``compared``, ``change``, ``counterfactual`` and ``expression``, ``suggest*`` with ``path_shape`` and
  ``service_text``, ``recorded``, ``rebuilt*``, ``replay``, ``again``, ``usage``, ``import_openapi``.

Besides ``identity.principal`` and ``http`` this package imports the values of ``credential.binding`` (a
service declares one) and ``credential.placeholder`` (to redact).
"""
