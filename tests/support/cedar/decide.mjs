// Decides with @cedar-policy/cedar-wasm what gatepass has decided with cedarpy: another build of Cedar.
//
//   node decide.mjs < jobs > answers
//
// A job is a line of JSON: {"schema": text, "policies": policy set as JSON, "questions": [...]}, each question
// {"principal", "action", "resource", "context", "entities"}. Every job is answered by a line, an array with one
// {"decision": "allow" | "deny", "rules": [ids], "errors": [ids of policies]} for each question, or
// {"decision": "none", "why": text} where the question is refused as a whole. A schema or policies that cannot be
// read answer every question so. With "validate" the array is the errors of validation instead, as texts.

import { createInterface } from "node:readline";

const cedar = await import("@cedar-policy/cedar-wasm/nodejs");
const SET = "rules";
const words = (errors) => errors.map((error) => error.message).join("; ");

function answer(question) {
  const said = cedar.statefulIsAuthorized({
    ...question,
    preparsedSchemaName: SET,
    preparsedPolicySetId: SET,
    validateRequest: true,
  });
  if (said.type !== "success") return { decision: "none", why: words(said.errors) };
  const { decision, diagnostics } = said.response;
  const errors = diagnostics.errors.map((error) => error.policyId);
  return { decision, rules: [...diagnostics.reason].sort(), errors: [...new Set(errors)].sort() };
}

function work({ schema, policies, questions }) {
  for (const read of [cedar.preparseSchema(SET, schema), cedar.preparsePolicySet(SET, policies)]) {
    if (read.type !== "success") {
      return questions.map(() => ({ decision: "none", why: words(read.errors) }));
    }
  }
  return questions.map(answer);
}

function validate({ schema, policies }) {
  const said = cedar.validate({ schema, policies, validationSettings: { mode: "strict" } });
  if (said.type !== "success") return [words(said.errors)];
  return said.validationErrors.map(({ policyId, error }) => `${policyId}: ${error.message}`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  console.log(JSON.stringify(job.validate ? validate(job) : work(job)));
}
