// An MCP server for tests, in plain Node: its tools do what a hosted server may
// do, well and badly.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync, existsSync, readdirSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const memory = new Map();
const running = new Map();
const text = (s) => ({ content: [{ type: 'text', text: String(s) }] });

const tools = {
  echo: [{ text: 'string' }, ({ text: t }) => text(t)],
  fail: [{}, () => ({ ...text('It did not work out.'), isError: true })],
  slow: [{ seconds: 'number' }, ({ seconds }, { signal, progress }) => new Promise((done) => {
    const timer = setTimeout(() => done(text('done')), seconds * 1000);
    progress(1, 'at work');
    signal.addEventListener('abort', () => { clearTimeout(timer); done(text('stopped')); });
  })],
  working: [{}, () => text([...running.values()].filter((r) => r.name === 'slow').length)],
  big: [{ bytes: 'number' }, ({ bytes }) => text('x'.repeat(bytes))],
  remember: [{ text: 'string' }, ({ text: t }) => { memory.set('it', t); return text('ok'); }],
  recall: [{}, () => text(memory.get('it') ?? 'nothing')],
  write: [{ file: 'string', text: 'string' }, ({ file, text: t }) => { writeFileSync(file, t); return text('ok'); }],
  read: [{ file: 'string' }, ({ file }) => text(existsSync(file) ? readFileSync(file, 'utf8') : 'nothing')],
  list: [{ file: 'string' }, ({ file }) => text(readdirSync(file).join(' '))],
  digest: [{ name: 'string' }, ({ name }) => text(createHash('sha256').update(name.startsWith('/') ? readFileSync(name) : process.env[name] ?? '').digest('hex'))],
  exit: [{ code: 'number', text: 'string' }, ({ code, text: t }) => { process.stderr.write(t + '\n'); process.exit(code); }],
  // What the kernel refuses leaves it with more than its bound, until that is seen.
  hog: [{}, () => new Promise(() => { globalThis.all = []; try { for (;;) globalThis.all.push(Buffer.alloc(4 << 20, 1)); } catch { } })],
  heap: [{}, () => { const all = []; for (;;) all.push({ s: 'x'.repeat(10) + all.length }); }],
  fork: [{}, () => new Promise(() => { for (let i = 0; i < 2000; i++) spawn('sleep', ['600']).on('error', () => {}); })],
  mumble: [{ text: 'string' }, ({ text: t }) => { console.log(t); console.log('{"level":30,"msg":"a log line"}'); return text('said'); }],
};

const schema = (p) => ({ type: 'object', properties: Object.fromEntries(Object.entries(p).map(([k, type]) => [k, { type }])) });
const send = (m) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', ...m }) + '\n');

async function answer({ id, method, params }) {
  switch (method) {
    case 'initialize':
      return { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo: { name: 'tester', version: '1' } };
    case 'tools/list':
      return { tools: Object.entries(tools).map(([name, [p]]) => ({ name, description: 'Does ' + name + '.', inputSchema: schema(p) })) };
    case 'ping':
      return {};
    case 'tools/call': {
      const tool = tools[params.name];
      if (!tool) throw { code: -32602, message: 'Unknown tool ' + params.name };
      const stop = new AbortController();
      running.set(id, { stop, name: params.name });
      const token = params._meta?.progressToken;
      const progress = (n, message) => token !== undefined && send({ method: 'notifications/progress', params: { progressToken: token, progress: n, message } });
      try {
        return await tool[1](params.arguments ?? {}, { signal: stop.signal, progress });
      } finally {
        running.delete(id);
      }
    }
  }
  throw { code: -32601, message: 'Method not found' };
}

if (process.argv.includes('--banner')) console.log('tester v1 ready on stdio\n');
if (process.argv.includes('--broken')) { console.error('cannot find the settings, token was ' + process.env.TOKEN); process.exit(3); }
if (process.argv.includes('--silent')) setInterval(() => console.log('still thinking'), 200);
else createInterface({ input: process.stdin }).on('line', (line) => {
  const m = JSON.parse(line);
  if (m.method === 'notifications/cancelled') return running.get(m.params.requestId)?.stop.abort();
  if (m.id === undefined || !m.method) return;
  answer(m).then((result) => send({ id: m.id, result }), (error) => send({ id: m.id, error: { code: error.code ?? -32603, message: error.message ?? String(error) } }));
}).on('close', () => process.exit(0));
