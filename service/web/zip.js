// Zip files: what is in one, and a new one. Only the parts of the format that pictures need.

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;
const UTF8 = 0x800;

/** @typedef {{path: string, read: () => Promise<Blob>}} Packed */

/**
 * The files of a zip, not unpacked yet.
 * @param {Blob} archive
 * @returns {Promise<Packed[]>}
 */
export async function readZip(archive) {
  const tail = new DataView(await archive.slice(Math.max(0, archive.size - 65_557)).arrayBuffer());
  let at = tail.byteLength - 22;
  while (at >= 0 && tail.getUint32(at, true) !== END) at -= 1;
  if (at < 0) throw new Error("this is not a zip file that can be read");
  const [n, size, start] = [tail.getUint16(at + 10, true), tail.getUint32(at + 12, true), tail.getUint32(at + 16, true)];
  if (start === 0xffffffff || n === 0xffff) throw new Error("this zip is too large to be read here; drop its folder instead");
  return entries(archive, new DataView(await archive.slice(start, start + size).arrayBuffer()), n);
}

/**
 * A zip with these files, not compressed: pictures are already.
 * @param {{path: string, blob: Blob}[]} files
 * @returns {Promise<Blob>}
 */
export async function writeZip(files) {
  /** @type {BlobPart[]} */
  const parts = [];
  /** @type {BlobPart[]} */
  const directory = [];
  let offset = 0;
  for (const { path, blob } of files) {
    const name = new TextEncoder().encode(path);
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const about = [20, UTF8, 0, 0, 0x21, ...halves(crc32(bytes)), ...halves(bytes.length), ...halves(bytes.length), name.length, 0];
    const local = shorts([...halves(LOCAL), ...about]);
    directory.push(shorts([...halves(ENTRY), 20, ...about, 0, 0, 0, 0, 0, ...halves(offset)]), name);
    parts.push(local, name, bytes);
    offset += local.byteLength + name.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + /** @type {Uint8Array} */ (part).byteLength, 0);
  const end = shorts([...halves(END), 0, 0, files.length, files.length, ...halves(size), ...halves(offset), 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/**
 * @param {Blob} archive
 * @param {DataView} directory
 * @param {number} n
 * @returns {Packed[]}
 */
function entries(archive, directory, n) {
  const found = [];
  for (let at = 0, index = 0; index < n && at + 46 <= directory.byteLength; index += 1) {
    if (directory.getUint32(at, true) !== ENTRY) throw new Error("this zip file is damaged");
    const [nameLength, extra, comment] = [28, 30, 32].map((place) => directory.getUint16(at + place, true));
    const path = decoded(new Uint8Array(directory.buffer, directory.byteOffset + at + 46, nameLength));
    const [flags, method] = [directory.getUint16(at + 8, true), directory.getUint16(at + 10, true)];
    const [size, start] = [directory.getUint32(at + 20, true), directory.getUint32(at + 42, true)];
    if (!path.endsWith("/")) found.push({ path, read: () => unpack(archive, { flags, method, size, start }) });
    at += 46 + nameLength + extra + comment;
  }
  return found;
}

/**
 * @param {Blob} archive
 * @param {{flags: number, method: number, size: number, start: number}} entry
 * @returns {Promise<Blob>}
 */
async function unpack(archive, { flags, method, size, start }) {
  if (flags & 1) throw new Error("it is encrypted");
  if (method !== 0 && method !== 8) throw new Error("it is packed in a way that is not read here");
  const head = new DataView(await archive.slice(start, start + 30).arrayBuffer());
  const from = start + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const packed = archive.slice(from, from + size);
  if (method === 0) return packed;
  try {
    return await new Response(packed.stream().pipeThrough(new DecompressionStream("deflate-raw"))).blob();
  } catch {
    throw new Error("it cannot be unpacked");
  }
}

/** @param {Uint8Array} name UTF-8, whatever the flag says; else one byte a letter */
function decoded(name) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(name);
  } catch {
    return new TextDecoder("latin1").decode(name);
  }
}

/**
 * @param {number} value
 * @returns {[number, number]} its low and high 16 bits
 */
function halves(value) {
  return [value & 0xffff, value >>> 16];
}

/** @param {number[]} values 16 bits each, low byte first */
function shorts(values) {
  return new Uint8Array(values.flatMap((value) => [value & 0xff, value >>> 8]));
}

/** @param {Uint8Array} bytes */
function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 0xff];
  return (crc ^ -1) >>> 0;
}

const CRC_TABLE = Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});
