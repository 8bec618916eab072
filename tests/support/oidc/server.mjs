// A real OpenID Connect provider on 127.0.0.1 that issues JWT access tokens (RFC 9068) for client credentials.
//
//   node server.mjs '[{"id": "coder", "secret": "s", "algorithm": "RS256"}]'
//
// It prints a line of JSON when it listens, {"issuer": ..., "keys": [key ids that sign]}, and another one
// for each line of its standard input, which rotates its keys: {"keep": true} goes on publishing the old
// ones, {"keep": false} withdraws them. It ends with its standard input.

import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

// Its hints for production would be lines on the standard output.
console.info = console.error;
const { default: Provider } = await import("oidc-provider");

const clients = JSON.parse(process.argv[2]);
const LIFETIME_S = 300;
const KINDS = {
  RS256: ["rsa", { modulusLength: 2048 }],
  ES256: ["ec", { namedCurve: "P-256" }],
};

function newKeys() {
  return Object.entries(KINDS).map(([alg, [type, options]]) => {
    const { privateKey } = generateKeyPairSync(type, options);
    return { ...privateKey.export({ format: "jwk" }), kid: `${alg}-${randomUUID()}`, alg, use: "sig" };
  });
}

function provider(issuer, signing, published) {
  const sign = Object.fromEntries(signing.map((key) => [key.alg, { alg: key.alg, kid: key.kid }]));
  const algorithm = Object.fromEntries(clients.map((client) => [client.id, client.algorithm]));
  return new Provider(issuer, {
    clients: clients.map((client) => ({
      client_id: client.id,
      client_secret: client.secret,
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    })),
    cookies: { keys: [randomUUID()] },
    jwks: { keys: published },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource, client) => ({
          scope: "",
          audience: resource,
          accessTokenTTL: LIFETIME_S,
          accessTokenFormat: "jwt",
          jwt: { sign: sign[algorithm[client.clientId]] },
        }),
      },
    },
  }).callback();
}

let published = [];
let answer;

function rotate(issuer, keep) {
  const signing = newKeys();
  published = keep ? [...signing, ...published] : signing;
  answer = provider(issuer, signing, published);
  process.stdout.write(JSON.stringify({ issuer, keys: signing.map((key) => key.kid) }) + "\n");
}

const server = createServer((request, response) => answer(request, response));
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  rotate(issuer, false);
  const orders = createInterface({ input: process.stdin });
  orders.on("line", (line) => rotate(issuer, JSON.parse(line).keep));
  orders.on("close", () => process.exit(0));
});
