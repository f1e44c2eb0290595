const json = (value: unknown) => JSON.stringify(value, null, 2);

/** How people connect a client to a server, one entry a client; the steps are the vendors' own. */
export interface ClientHelp {
  id: string;
  label: string;
  steps: string;
  code: string;
}

export function connectHelp(slug: string, url: string): ClientHelp[] {
  const plain = url.startsWith("http://");
  return [
    { id: "claude-code", label: "Claude Code", steps: "Run this, start claude, type /mcp, choose the server and Authenticate.", code: `claude mcp add --transport http ${slug} ${url}` },
    { id: "claude", label: "Claude", steps: "Settings, Connectors, Add custom connector: paste the URL. Claude opens the sign-in by itself.", code: url },
    { id: "cursor", label: "Cursor", steps: "Put this into .cursor/mcp.json of a project, or ~/.cursor/mcp.json for all of them.", code: json({ mcpServers: { [slug]: { url } } }) },
    { id: "vscode", label: "VS Code", steps: "Put this into .vscode/mcp.json, then start the server from the line above it.", code: json({ servers: { [slug]: { type: "http", url } } }) },
    { id: "stdio", label: "Others", steps: "For a client that only speaks stdio, let mcp-remote stand between.", code: `npx mcp-remote ${url}${plain ? " --allow-http" : ""}` },
  ];
}
