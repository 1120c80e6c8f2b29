// A WebSocket server (npm's ws) that does what its client asks for in a text message:
// the peer of spec/support/ws_cases.lua. Prints its port. Over TLS where the folder of
// certs.sh is named in the arguments.
const fs = require('fs');
const http = require('http');
const https = require('https');
const { WebSocketServer } = require('ws');

const certs = process.argv[2];
const file = (name) => fs.readFileSync(`${certs}/${name}`);
const server = certs
  ? https.createServer({ key: file('good.key'), cert: file('good.pem') }) : http.createServer();
const sockets = new WebSocketServer({
  noServer: true, maxPayload: 8e6, handleProtocols: (offered) => (offered.has('b') ? 'b' : false),
});
let lastClose = null; // of the connection before: what its client said

const commands = {
  frag: (w, rest, body) => { // each byte a fragment, a ping between them
    const bytes = body.subarray(5);
    for (let i = 0; i < bytes.length; i++) {
      if (i === 1) w.ping('p');
      w.send(bytes.subarray(i, i + 1), { fin: i === bytes.length - 1, binary: false });
    }
  },
  empty: (w, rest) => { // fragments without a byte around the text
    w.send('', { fin: false, binary: false });
    w.send(rest, { fin: false, binary: false });
    w.send('', { fin: true, binary: false });
  },
  big: (w, rest) => w.send(Buffer.alloc(Number(rest), 120), { binary: true }),
  parts: (w, rest) => { // fragments of 500 bytes
    const count = Number(rest);
    for (let i = 0; i < count; i++) w.send(Buffer.alloc(500, 120), { fin: i === count - 1, binary: true });
  },
  raw: (w, rest) => w._socket.write(Buffer.from(rest, 'base64')),
  drip: (w, rest) => { // the same, a byte at a time
    const bytes = Buffer.from(rest, 'base64');
    let i = 0;
    const next = () => { if (i < bytes.length) { w._socket.write(bytes.subarray(i, ++i)); setImmediate(next); } };
    next();
  },
  close: (w, rest) => (rest === '' ? w.close() : w.close(Number(rest), 'bye')),
  cut: (w) => w._socket.destroy(),
  end: (w) => w._socket.end(),
  mute: (w) => w._socket.pause(),
  ping: (w, rest) => { w.once('pong', (data) => w.send('pong ' + data.toString())); w.ping(rest); },
  last: (w) => w.send(JSON.stringify(lastClose)),
};

sockets.on('connection', (w) => {
  w.on('error', () => {});
  w.on('close', (code, reason) => { if (!w.asking) lastClose = { code, reason: reason.toString() }; });
  w.on('message', (data, binary) => {
    const text = binary ? '' : data.toString();
    const found = /^!(\w+):?/.exec(text);
    if (!found) return w.send(data, { binary });
    if (found[1] === 'last') w.asking = true;
    commands[found[1]](w, text.slice(found[0].length), data.subarray(1));
  });
});

server.on('upgrade', (request, socket, head) => {
  const refused = /^\/refuse\/(\d+)/.exec(request.url);
  if (refused) {
    const body = JSON.stringify({ error: { message: 'refused here' } });
    socket.end(`HTTP/1.1 ${refused[1]} X\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  } else {
    sockets.handleUpgrade(request, socket, head, (w) => sockets.emit('connection', w));
  }
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
