'use strict';

// What Esplora's HTTP API tells of a chain, document by document (https://github.com/Blockstream/esplora/blob/master/API.md).
// For development and tests: it reads as much as it is asked for, and only from bcoin in this process.

const common = require('bcoin/lib/script/common');
const {addressOf, reversed, scriptOf} = require('./chain');

const PER_PAGE = 25;
const MEMPOOL_TXS = 50;
const MEDIAN_OF = 11;

/** A script in words, as rust-bitcoin writes it. */
function asm(script) {
  return [...script.code].map(word).join(' ');
}

function word({value, data}) {
  if (value === 0) return 'OP_0';
  if (value === 0x4f) return 'OP_PUSHNUM_NEG1';
  if (value >= 0x51 && value <= 0x60) return `OP_PUSHNUM_${value - 0x50}`;
  if (data === null) return common.opcodesByVal[value] || `OP_RETURN_${value}`;
  const pushed = value <= 75 ? `OP_PUSHBYTES_${data.length}` : `OP_PUSHDATA${{0x4c: 1, 0x4d: 2, 0x4e: 4}[value]}`;
  return `${pushed} ${data.toString('hex')}`;
}

function typeOf(script) {
  const program = script.getProgram();
  if (script.raw.length === 0) return 'empty';
  if (script.raw[0] === 0x6a) return 'op_return';
  if (script.isPubkey()) return 'p2pk';
  if (script.isPubkeyhash()) return 'p2pkh';
  if (script.isScripthash()) return 'p2sh';
  if (script.isWitnessPubkeyhash()) return 'v0_p2wpkh';
  if (script.isWitnessScripthash()) return 'v0_p2wsh';
  return program !== null && program.version === 1 && program.data.length === 32 ? 'v1_p2tr' : 'unknown';
}

function txout(output) {
  const address = addressOf(output.script);
  return {
    scriptpubkey: output.script.toRaw().toString('hex'),
    scriptpubkey_asm: asm(output.script),
    scriptpubkey_type: typeOf(output.script),
    ...(address === null ? {} : {scriptpubkey_address: address}),
    value: output.value,
  };
}

function txin(input, coin) {
  const coinbase = coin === null;
  return {
    txid: reversed(input.prevout.hash),
    vout: input.prevout.index,
    prevout: coinbase ? null : txout(coin),
    scriptsig: input.script.toRaw().toString('hex'),
    scriptsig_asm: asm(input.script),
    ...(input.witness.items.length > 0 ? {witness: input.witness.items.map((item) => item.toString('hex'))} : {}),
    is_coinbase: coinbase,
    sequence: input.sequence,
  };
}

class Esplora {
  constructor(chain) {
    this.chain = chain;
    this.node = chain.node;
  }

  tip() {
    return this.node.chain.tip;
  }

  async hashAt(height) {
    const hash = await this.node.chain.getHash(height);
    return hash ? reversed(hash) : null;
  }

  async block(hash) {
    const block = await this.node.chain.getBlock(reversed(hash));
    if (!block) return null;
    const entry = await this.node.chain.getEntry(reversed(hash));
    const times = [];
    for (let one = entry; one && times.length < MEDIAN_OF; one = await this.node.chain.getPrevious(one)) times.push(one.time);
    return {
      id: hash,
      height: entry.height,
      version: entry.version,
      timestamp: entry.time,
      tx_count: block.txs.length,
      size: block.getSize(),
      weight: block.getWeight(),
      merkle_root: reversed(entry.merkleRoot),
      previousblockhash: entry.height === 0 ? null : reversed(entry.prevBlock),
      mediantime: times.sort((one, other) => one - other)[times.length >> 1],
      nonce: entry.nonce,
      bits: entry.bits,
      difficulty: 4.6565423739069247e-10,
    };
  }

  async rawBlock(hash) {
    const block = await this.node.chain.getBlock(reversed(hash));
    return block ? block.toRaw() : null;
  }

  async transaction(txid) {
    const meta = await this.node.getMeta(reversed(txid));
    return meta ? this.described(meta) : null;
  }

  async rawTransaction(txid) {
    const meta = await this.node.getMeta(reversed(txid));
    return meta ? meta.tx.toRaw().toString('hex') : null;
  }

  async described(meta) {
    const {tx} = meta;
    const view = await this.node.getMetaView(meta);
    return {
      txid: tx.txid(),
      version: tx.version,
      locktime: tx.locktime,
      vin: tx.inputs.map((input) => txin(input, tx.isCoinbase() ? null : view.getOutput(input.prevout))),
      vout: tx.outputs.map(txout),
      size: tx.getSize(),
      weight: tx.getWeight(),
      fee: tx.isCoinbase() ? 0 : tx.getFee(view),
      status: await this.status(meta),
    };
  }

  async status(meta) {
    if (meta.height === -1) return {confirmed: false};
    return {
      confirmed: true,
      block_height: meta.height,
      block_hash: reversed(meta.block),
      block_time: meta.time,
    };
  }

  /** All transactions that pay an address or spend what it had, newest first: those of the mempool, and the others. */
  async history(address) {
    const script = scriptOf(address);
    const raw = script.toRaw();
    const metas = await this.node.getMetaByAddress([script.getAddress()]);
    const found = [];
    for (const meta of metas) {
      // The index knows P2PK and P2PKH as one.
      const view = await this.node.getMetaView(meta);
      const spent = meta.tx.inputs.map((input) => view.getOutput(input.prevout)).filter((coin) => coin);
      if ([...meta.tx.outputs, ...spent].some((output) => output.script.toRaw().equals(raw))) found.push(meta);
    }
    return {
      mempool: found.filter((meta) => meta.height === -1).sort((one, other) => other.mtime - one.mtime),
      chain: found
        .filter((meta) => meta.height !== -1)
        .sort((one, other) => other.height - one.height || other.index - one.index),
    };
  }

  describedAll(metas) {
    return Promise.all(metas.map((meta) => this.described(meta)));
  }

  async transactions(address) {
    const {mempool, chain} = await this.history(address);
    return this.describedAll([...mempool.slice(0, MEMPOOL_TXS), ...chain.slice(0, PER_PAGE)]);
  }

  async inMempool(address) {
    return this.describedAll((await this.history(address)).mempool.slice(0, MEMPOOL_TXS));
  }

  /** A page of those in blocks; like Esplora's, it is empty after one that is not among them. */
  async inBlocks(address, lastSeen) {
    const {chain} = await this.history(address);
    const place = lastSeen === undefined ? 0 : 1 + chain.findIndex((meta) => meta.tx.txid() === lastSeen);
    return lastSeen !== undefined && place === 0 ? [] : this.describedAll(chain.slice(place, place + PER_PAGE));
  }

  async stats(address) {
    const {mempool, chain} = await this.history(address);
    const raw = scriptOf(address).toRaw();
    return {address, chain_stats: await this.sums(chain, raw), mempool_stats: await this.sums(mempool, raw)};
  }

  async sums(metas, raw) {
    const sums = {funded_txo_count: 0, funded_txo_sum: 0, spent_txo_count: 0, spent_txo_sum: 0, tx_count: metas.length};
    for (const meta of metas) {
      const view = await this.node.getMetaView(meta);
      const spent = meta.tx.inputs.map((input) => view.getOutput(input.prevout)).filter((coin) => coin);
      for (const [kind, outputs] of [['funded', meta.tx.outputs], ['spent', spent]]) {
        for (const output of outputs.filter((one) => one.script.toRaw().equals(raw))) {
          sums[`${kind}_txo_count`] += 1;
          sums[`${kind}_txo_sum`] += output.value;
        }
      }
    }
    return sums;
  }
}

module.exports = {Esplora};
