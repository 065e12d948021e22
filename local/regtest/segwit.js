'use strict';

// Addresses of witness programs of all versions (BIP-173, BIP-350); bcoin knows those of version 0 only.

const CHARACTERS = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';
const GENERATOR = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
const BECH32 = 1;
const BECH32M = 0x2bc830a3;

function polymod(values) {
  let check = 1;
  for (const value of values) {
    const top = check >>> 25;
    check = ((check & 0x1ffffff) << 5) ^ value;
    for (let bit = 0; bit < 5; bit++) {
      if ((top >>> bit) & 1) check ^= GENERATOR[bit];
    }
  }
  return check >>> 0;
}

function expanded(prefix) {
  const codes = [...prefix].map((character) => character.charCodeAt(0));
  return [...codes.map((code) => code >> 5), 0, ...codes.map((code) => code & 31)];
}

function regroup(values, from, to, pad) {
  let bits = 0;
  let held = 0;
  const groups = [];
  for (const value of values) {
    held = (held << from) | value;
    bits += from;
    while (bits >= to) {
      bits -= to;
      groups.push((held >> bits) & ((1 << to) - 1));
    }
    held &= (1 << bits) - 1;
  }
  if (pad && bits > 0) groups.push((held << (to - bits)) & ((1 << to) - 1));
  if (!pad && (bits >= from || held !== 0)) return null;
  return groups;
}

/** The address of a witness program. */
exports.encode = (prefix, version, program) => {
  const data = [version, ...regroup(program, 8, 5, true)];
  const constant = version === 0 ? BECH32 : BECH32M;
  const check = polymod([...expanded(prefix), ...data, 0, 0, 0, 0, 0, 0]) ^ constant;
  const checksum = [0, 1, 2, 3, 4, 5].map((place) => (check >>> (5 * (5 - place))) & 31);
  return `${prefix}1${[...data, ...checksum].map((value) => CHARACTERS[value]).join('')}`;
};

/** The version and the program of an address; null if it is none of this prefix. */
exports.decode = (prefix, address) => {
  const lower = address.toLowerCase();
  if ((address !== lower && address !== address.toUpperCase()) || !lower.startsWith(`${prefix}1`)) return null;
  const values = [...lower.slice(prefix.length + 1)].map((character) => CHARACTERS.indexOf(character));
  if (values.includes(-1) || values.length < 8 || address.length > 90) return null;
  const version = values[0];
  if (version > 16 || polymod([...expanded(prefix), ...values]) !== (version === 0 ? BECH32 : BECH32M)) return null;
  const program = regroup(values.slice(1, -6), 5, 8, false);
  if (program === null || program.length < 2 || program.length > 40) return null;
  if (version === 0 && program.length !== 20 && program.length !== 32) return null;
  return {version, program: Buffer.from(program)};
};
