// An OpenID provider for tests: oidc-provider, with its own pages for logging in.
//
//   provider.mjs FOLDER PORT KEY CERTIFICATE
//
// FOLDER has oidc-provider in node_modules, as package-lock.json says.
//
// Each user may log in with any password. POST /end?user=NAME ends the user's refresh tokens, as an administrator does.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { generateKeyPairSync } from 'node:crypto';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, port, key, certificate] = process.argv.slice(2);
const installed = createRequire(resolve(folder, 'package.json')).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(installed));
const issuer = `https://127.0.0.1:${port}`;
const AUDIENCE = 'ironmesh';
const RESOURCE = 'urn:ironmesh';
const ROLES = { ann: ['ops-admins'], rob: ['reader'], eve: [] };

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const jwk = { ...privateKey.export({ format: 'jwk' }), kid: 'first', use: 'sig', alg: 'RS256' };

const refreshTokens = new Set();
const provider = new Provider(issuer, {
  jwks: { keys: [jwk] },
  cookies: { keys: ['a key for cookies of tests'] },
  clients: [{
    client_id: 'ironmesh',
    client_name: 'Ironmesh',
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
    response_types: [],
    redirect_uris: [],
  }],
  claims: { openid: ['sub'], profile: ['preferred_username'] },
  findAccount: (_, id) => (id in ROLES
    ? { accountId: id, claims: () => ({ sub: id, preferred_username: id }) }
    : undefined),
  extraTokenClaims: (_, token) => ({ preferred_username: token.accountId, roles: ROLES[token.accountId] }),
  ttl: { AccessToken: 3600, DeviceCode: 600, RefreshToken: 86400, Grant: 86400, Session: 3600, Interaction: 600 },
  features: {
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    // Access tokens are signed (RFC 9068) and for one audience.
    resourceIndicators: {
      enabled: true,
      defaultResource: () => RESOURCE,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: '', audience: AUDIENCE, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
});
provider.on('refresh_token.saved', (token) => refreshTokens.add(token));
provider.on('server_error', (_, error) => console.error(error));

const answer = provider.callback();
createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, async (request, response) => {
  const url = new URL(request.url, issuer);
  if (request.method !== 'POST' || url.pathname !== '/end') {
    await answer(request, response);
    return;
  }
  for (const token of refreshTokens) {
    if (token.accountId === url.searchParams.get('user')) {
      await provider.RefreshToken.revokeByGrantId(token.grantId);
      refreshTokens.delete(token);
    }
  }
  response.end('ended\n');
}).listen(Number(port), '127.0.0.1');
