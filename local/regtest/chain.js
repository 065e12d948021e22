'use strict';

// A chain of Bitcoin's regtest network by bcoin, whose blocks are kept in one file, and a wallet that has all rewards.

const fs = require('fs');

const networks = require('bcoin/lib/protocol/networks');
// bcoin has prefixes of its own for regtest; everybody else has these.
Object.assign(networks.regtest.addressPrefix, {bech32: 'bcrt', pubkeyhash: 0x6f, scripthash: 0xc4});

const Address = require('bcoin/lib/primitives/address');
const Block = require('bcoin/lib/primitives/block');
const FullNode = require('bcoin/lib/node/fullnode');
const KeyRing = require('bcoin/lib/primitives/keyring');
const MTX = require('bcoin/lib/primitives/mtx');
const Script = require('bcoin/lib/script/script');
const TX = require('bcoin/lib/primitives/tx');
const util = require('bcoin/lib/utils/util');

const segwit = require('./segwit');

const PREFIX = networks.regtest.addressPrefix.bech32;
// Witnesses are allowed from block 432 on, and 100 blocks later the first reward may be spent together with them.
const FIRST_BLOCKS = 432 + 100;
const COINBASE_MATURITY = 100;
const FEE_SAT = 1000;
// Nobody but the tests and the faucet spends it: this key is of no secret and of no worth.
const WALLET_KEY = Buffer.alloc(32, 0x11);

/** Something that was asked for can't be done; the message says why. */
class Refused extends Error {}

function reversed(hash) {
  return util.revHex(hash);
}

/** The script that pays an address. */
function scriptOf(address) {
  const program = segwit.decode(PREFIX, address);
  if (program !== null) return Script.fromProgram(program.version, program.program);
  try {
    return Script.fromAddress(Address.fromBase58(address, 'regtest'));
  } catch (error) {
    throw new Refused(`${address} is no address of regtest`);
  }
}

/** The address that a script pays; null if it has none. */
function addressOf(script) {
  const program = script.getProgram();
  if (program !== null) return segwit.encode(PREFIX, program.version, program.data);
  const hashed = script.getPubkeyhash() || script.getScripthash();
  return hashed ? Address.fromScript(script).toString('regtest') : null;
}

function transactionFrom(hex) {
  try {
    return TX.fromRaw(hex, 'hex');
  } catch (error) {
    throw new Refused(`no transaction: ${hex.slice(0, 40)}`);
  }
}

class Chain {
  /** The blocks are read from a file, and those to come are added to it; null keeps none. */
  constructor(file) {
    this.node = new FullNode({
      network: 'regtest',
      memory: true,
      indexTX: true,
      indexAddress: true,
      noDns: true,
      requireStandard: false,
    });
    this.node.on('error', (error) => console.error(`bcoin: ${error.message}`));
    // Which transactions a block has is said by who mines it.
    this.node.miner.mempool = null;
    this.ring = KeyRing.fromOptions({privateKey: WALLET_KEY, witness: true, compressed: true}, 'regtest');
    this.address = this.ring.getAddress();
    this.file = file;
    this.log = null;
    this.last = Promise.resolve();
  }

  async open() {
    await this.node.ensure();
    // Without its HTTP server and its connections: nobody else is told of this chain.
    for (const part of [this.node.chain, this.node.mempool, this.node.miner]) await part.open();
    if (this.file !== null) await this.restore();
    const missing = FIRST_BLOCKS - this.node.chain.height;
    if (missing > 0) await this.mine(missing, []);
  }

  async restore() {
    const bytes = fs.existsSync(this.file) ? fs.readFileSync(this.file) : Buffer.alloc(0);
    let end = 0;
    // What was being written when the process was killed is no whole block.
    while (end + 4 <= bytes.length && end + 4 + bytes.readUInt32LE(end) <= bytes.length) {
      const next = end + 4 + bytes.readUInt32LE(end);
      await this.node.chain.add(Block.fromRaw(bytes.slice(end + 4, next)));
      end = next;
    }
    this.log = fs.openSync(this.file, 'a', 0o600);
    fs.ftruncateSync(this.log, end);
  }

  /** Runs what changes the chain one after the other. */
  alone(work) {
    const done = this.last.then(work);
    this.last = done.catch(() => null);
    return done;
  }

  async add(block) {
    if ((await this.node.chain.add(block)) === null) throw new Refused('the block was not accepted');
    if (this.log === null) return;
    const raw = block.toRaw();
    const size = Buffer.alloc(4);
    size.writeUInt32LE(raw.length, 0);
    fs.writeSync(this.log, Buffer.concat([size, raw]));
  }

  async build(tip, transactions) {
    const job = await this.node.miner.cpu.createJob(tip, this.address);
    for (const transaction of transactions) job.pushTX(transaction);
    job.refresh();
    return job.mineAsync();
  }

  /** Mines blocks, the first of which has these transactions. */
  async mine(blocks, transactions) {
    const hashes = [];
    for (let number = 0; number < blocks; number++) {
      const block = await this.build(this.node.chain.tip, number === 0 ? transactions : []);
      await this.add(block);
      hashes.push(reversed(block.hash('hex')));
    }
    return hashes;
  }

  mempool() {
    return [...this.node.mempool.map.values()].map((entry) => entry.tx);
  }

  /** Takes a transaction into the mempool, or says why not. */
  async send(transaction) {
    let missing;
    try {
      missing = await this.node.mempool.addTX(transaction);
    } catch (error) {
      if (error.type !== 'VerifyError') throw error;
      throw new Refused(error.reason);
    }
    if (missing) {
      // It would wait for what it spends, and count as known.
      this.node.mempool.removeOrphan(transaction.hash('hex'));
      throw new Refused('bad-txns-inputs-missingorspent');
    }
    return transaction;
  }

  /** Pays each script its satoshis, from the oldest coins, so that no short reorganization undoes them. */
  async pay(outputs) {
    const needed = outputs.reduce((sum, output) => sum + output.amount_sat, FEE_SAT);
    const coins = (await this.node.chain.getCoinsByAddress([this.address]))
      .filter((coin) => !this.node.mempool.isSpent(coin.hash, coin.index))
      .filter((coin) => !coin.coinbase || this.node.chain.height + 1 - coin.height >= COINBASE_MATURITY)
      .sort((one, other) => one.height - other.height);
    const mtx = new MTX();
    let held = 0;
    while (held < needed) {
      const coin = coins.shift();
      if (coin === undefined) throw new Refused('the faucet has not so much');
      mtx.addCoin(coin);
      held += coin.value;
    }
    for (const output of outputs) mtx.addOutput(scriptOf(output.address), output.amount_sat);
    if (held > needed) mtx.addOutput(this.address, held - needed);
    return this.send(this.signed(mtx));
  }

  /** Another transaction with the inputs of one of ours, which pays the wallet and a higher fee; nobody is told of it. */
  async rival(txid) {
    const meta = await this.node.getMeta(reversed(txid));
    if (meta === null) throw new Refused(`there is no transaction ${txid}`);
    const view = await this.node.getMetaView(meta);
    const mtx = new MTX();
    for (const {prevout} of meta.tx.inputs) mtx.addCoin(view.getCoin(prevout));
    mtx.addOutput(this.address, meta.tx.getInputValue(view) - 2 * FEE_SAT);
    return this.signed(mtx);
  }

  /** Puts a transaction into the mempool in place of those that spend the same: bcoin itself replaces none. */
  async replace(transaction) {
    for (const {prevout} of transaction.inputs) {
      const spender = this.node.mempool.getSpent(prevout.hash, prevout.index);
      if (spender) this.node.mempool.evictEntry(spender);
    }
    return this.send(transaction);
  }

  /**
   * Undoes the last blocks by other ones, the first of which has these transactions.
   *
   * bcoin drops the transactions of undone blocks if its mempool is empty, so they are put back here, as far as
   * they are still good.
   */
  async reorganize(depth, blocks, transactions) {
    const {chain} = this.node;
    if (depth < 1 || depth > chain.height - FIRST_BLOCKS) throw new Refused(`there are no ${depth} blocks to undo`);
    if (blocks <= depth) throw new Refused('the other branch must be longer');
    const undone = [];
    for (let height = chain.height - depth + 1; height <= chain.height; height++) {
      undone.push(...(await chain.getBlock(await chain.getHash(height))).txs.slice(1));
    }
    let tip = await chain.getEntryByHeight(chain.height - depth);
    const hashes = [];
    for (let number = 0; number < blocks; number++) {
      const block = await this.build(tip, number === 0 ? transactions : []);
      await this.add(block);
      tip = await chain.getEntry(block.hash('hex'));
      hashes.push(reversed(block.hash('hex')));
    }
    for (const transaction of undone) {
      if (await chain.getMeta(transaction.hash('hex'))) continue;
      await this.send(transaction).catch((error) => {
        if (!(error instanceof Refused)) throw error;
      });
    }
    return hashes;
  }

  signed(mtx) {
    if (mtx.sign(this.ring) === 0) throw new Refused('the inputs are not the wallet\'s');
    return mtx.toTX();
  }
}

module.exports = {Chain, Refused, addressOf, reversed, scriptOf, transactionFrom};
