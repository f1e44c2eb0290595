/** Requests with a new key, ready to be pasted into a shell. The key is read from the environment, so that it does not stay in the shell's history. */
export function keyHelp({ api, tenant, token, id }: { api: string; tenant?: string; token: string; id: string }) {
  const path = tenant ? `/tenants/${tenant}` : "/tenants";
  return {
    env: "read -rs LATCHKEY_API_KEY; export LATCHKEY_API_KEY",
    direct: `curl -H "Authorization: Bearer $LATCHKEY_API_KEY" \\\n  ${api}${path}`,
    exchange: `curl -u "${id}:$LATCHKEY_API_KEY" \\\n  -d grant_type=client_credentials \\\n  ${token}`,
  };
}
