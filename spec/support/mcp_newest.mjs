// A Model Context Protocol server of the newest revision on the official SDK
// (@modelcontextprotocol/server): `node mcp_newest.mjs stdio`, or over HTTP at PORT.
import { McpServer, acceptedContent, createMcpHandler, inputRequired } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import http from 'node:http';
import { z } from 'zod';

const text = (text) => ({ content: [{ type: 'text', text }] });

const make = () => {
  const server = new McpServer({ name: 'newest', version: '1.0.0' });
  server.registerTool('echo', {
    inputSchema: z.object({ text: z.string().meta({ 'x-mcp-header': 'Text' }), times: z.int().meta({ 'x-mcp-header': 'Times' }) }),
  }, async ({ text: said, times }) => text(said.repeat(times)));
  server.registerTool('slow', { inputSchema: z.object({ steps: z.number() }) }, async ({ steps }, ctx) => {
    const progressToken = ctx.mcpReq._meta?.progressToken;
    for (let progress = 1; progress <= steps; progress++) {
      await new Promise((r) => setTimeout(r, 50));
      if (progressToken === undefined) continue;
      await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: steps } });
    }
    return text('done');
  });
  server.registerTool('ask', { inputSchema: z.object({}) }, async (_, ctx) => {
    const who = acceptedContent(ctx.mcpReq.inputResponses, 'who');
    if (who) return text(`hello ${who.name}`);
    const requestedSchema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
    return inputRequired({ inputRequests: { who: inputRequired.elicit({ message: 'Who?', requestedSchema }) } });
  });
  return server;
};

if (process.argv[2] === 'stdio') {
  serveStdio(make, { legacy: 'reject' });
} else {
  const handler = createMcpHandler(make, { legacy: 'reject' });
  http.createServer(async (req, res) => {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    const gone = new AbortController();
    res.on('close', () => gone.abort());
    const answer = await handler.fetch(new Request(`http://127.0.0.1${req.url}`, {
      method: req.method, headers: req.headers, body: chunks.length ? Buffer.concat(chunks) : undefined, signal: gone.signal,
    }));
    res.writeHead(answer.status, Object.fromEntries(answer.headers));
    try {
      if (answer.body) for await (const chunk of answer.body) res.write(chunk);
    } catch { /* the client went away */ }
    res.end();
  }).listen(Number(process.env.PORT), '127.0.0.1');
}
