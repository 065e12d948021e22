'use strict';

// Serves a regtest chain on 127.0.0.1: Esplora's API under /api, and under /regtest what only a chain of one's own lets do.
// Usage: node server.js [PORT [FILE]]. It prints {"url", "height"} when it is ready, and ends when its input does.

const http = require('http');
const {once} = require('events');

const {Chain, Refused, reversed, transactionFrom} = require('./chain');
const {Esplora} = require('./esplora');

const LONGEST_BODY = 4 * 1024 * 1024;
const MOST_BLOCKS = 1000;
const HASH = '[0-9a-f]{64}';

/** There is no such thing; the message is Esplora's. */
class NotFound extends Error {}

function found(value, message) {
  if (value === null) throw new NotFound(message);
  return value;
}

function whole(value, least, most) {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new Refused(`must be a whole number from ${least} to ${most}, not ${JSON.stringify(value)}`);
  }
  return value;
}

function payments(outputs) {
  if (!Array.isArray(outputs) || outputs.length === 0) throw new Refused('outputs must be a list');
  return outputs.map(({address, amount_sat}) => ({
    address: String(address),
    // Less than that is not relayed.
    amount_sat: whole(amount_sat, 546, 21e14),
  }));
}

function esploraRoutes(esplora, chain) {
  return [
    ['GET', /^\/blocks\/tip\/hash$/, () => reversed(esplora.tip().hash)],
    ['GET', /^\/blocks\/tip\/height$/, () => String(esplora.tip().height)],
    ['GET', /^\/block-height\/(\d{1,9})$/, async (height) => found(await esplora.hashAt(Number(height)), 'Block not found')],
    ['GET', new RegExp(`^/block/(${HASH})$`), async (hash) => found(await esplora.block(hash), 'Block not found')],
    ['GET', new RegExp(`^/block/(${HASH})/raw$`), async (hash) => found(await esplora.rawBlock(hash), 'Block not found')],
    ['GET', new RegExp(`^/tx/(${HASH})$`), async (txid) => found(await esplora.transaction(txid), 'Transaction not found')],
    ['GET', new RegExp(`^/tx/(${HASH})/hex$`), async (txid) => found(await esplora.rawTransaction(txid), 'Transaction not found')],
    ['GET', /^\/address\/(\w+)$/, (address) => esplora.stats(address)],
    ['GET', /^\/address\/(\w+)\/txs$/, (address) => esplora.transactions(address)],
    ['GET', /^\/address\/(\w+)\/txs\/mempool$/, (address) => esplora.inMempool(address)],
    ['GET', new RegExp(`^/address/(\\w+)/txs/chain(?:/(${HASH}))?$`), (address, last) => esplora.inBlocks(address, last)],
    ['POST', /^\/tx$/, async (...parts) => (await chain.send(transactionFrom(parts.pop().trim()))).txid()],
  ];
}

function described(transaction) {
  return {txid: transaction.txid(), hex: transaction.toRaw().toString('hex')};
}

function ownRoutes(chain) {
  const transactions = (hexes) => hexes.map(transactionFrom);
  return [
    ['/pay', async ({outputs}) => described(await chain.pay(payments(outputs)))],
    ['/send', async ({hex}) => described(await chain.send(transactionFrom(hex)))],
    ['/rival', async ({txid}) => described(await chain.rival(txid))],
    ['/replace', async ({hex}) => described(await chain.replace(transactionFrom(hex)))],
    [
      '/mine',
      async ({blocks = 1, transactions: hexes}) => ({
        hashes: await chain.mine(whole(blocks, 1, MOST_BLOCKS), hexes ? transactions(hexes) : chain.mempool()),
      }),
    ],
    [
      '/reorg',
      async ({depth, blocks = depth + 1, transactions: hexes = []}) => ({
        hashes: await chain.reorganize(whole(depth, 1, MOST_BLOCKS), whole(blocks, 1, MOST_BLOCKS), transactions(hexes)),
      }),
    ],
  ];
}

async function bodyOf(request) {
  const pieces = [];
  let length = 0;
  for await (const piece of request) {
    length += piece.length;
    if (length > LONGEST_BODY) throw new Refused('the body is too long');
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

function answer(chain) {
  const public_ = esploraRoutes(new Esplora(chain), chain);
  const own = new Map(ownRoutes(chain));
  return async (request) => {
    const body = await bodyOf(request);
    const path = new URL(request.url, 'http://localhost').pathname;
    if (request.method === 'POST' && path.startsWith('/regtest/') && own.has(path.slice('/regtest'.length))) {
      return chain.alone(() => own.get(path.slice('/regtest'.length))(JSON.parse(body || '{}')));
    }
    for (const [method, pattern, work] of public_) {
      const match = request.method === method && path.startsWith('/api/') && pattern.exec(path.slice('/api'.length));
      // Nothing is read while blocks change.
      if (match) return chain.alone(() => work(...match.slice(1), body));
    }
    throw new NotFound('endpoint does not exist');
  };
}

function written(value) {
  if (Buffer.isBuffer(value)) return ['application/octet-stream', value];
  if (typeof value === 'string') return ['text/plain', value];
  return ['application/json', JSON.stringify(value)];
}

function statusOf(error) {
  if (error instanceof NotFound) return 404;
  return error instanceof Refused || error instanceof SyntaxError ? 400 : 500;
}

async function main() {
  const [port = '0', file = null] = process.argv.slice(2);
  const chain = new Chain(file);
  await chain.open();
  const respond = answer(chain);
  const server = http.createServer(async (request, response) => {
    let status = 200;
    let value;
    try {
      value = await respond(request);
    } catch (error) {
      status = statusOf(error);
      value = error.message;
      if (status === 500) console.error(error.stack);
    }
    const [type, body] = written(value);
    response.writeHead(status, {'content-type': type, 'content-length': Buffer.byteLength(body)});
    response.end(body);
  });
  server.listen(Number(port), '127.0.0.1');
  await once(server, 'listening');
  console.log(JSON.stringify({url: `http://127.0.0.1:${server.address().port}`, height: chain.node.chain.height}));
  // Whoever has started it holds the other end, and lets it go however it ends.
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
