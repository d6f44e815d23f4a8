// `handful.json` in a zip of examples: what the folders alone cannot say. The service reads it too (api/manifests.py).

export const MANIFEST = "handful.json";

/** @typedef {import("./zip.js").Packed} Packed */
/** @typedef {{folder: string, label: string, is_left_out?: boolean}} Told */
/** @typedef {{leftOut: string[], about: (path: string, label: string | null) => {label: string | null, group?: string}}} Manifest */

/**
 * A folder for each label: the label itself, where it can be one.
 * @param {string[]} labels
 * @returns {Map<string, string>}
 */
export function foldersOf(labels) {
  const folders = new Map();
  const taken = new Set(labels.filter((label) => label === asFolder(label)));
  for (const label of labels) {
    const plain = asFolder(label);
    let folder = plain;
    for (let n = 2; folder !== label && taken.has(folder); n += 1) folder = `${plain} ${n}`;
    taken.add(folder);
    folders.set(label, folder);
  }
  return folders;
}

/**
 * The manifest of a zip, or null where its folders say everything.
 * @param {{label: string, isLeftOut: boolean}[]} classes
 * @param {Map<string, string>} folders of the labels
 * @param {Record<string, string>} groups of the files, by path
 * @returns {Blob | null}
 */
export function manifestOf(classes, folders, groups) {
  const told = classes.map(({ label, isLeftOut }) => ({ folder: folders.get(label), label, is_left_out: isLeftOut }));
  const isPlain = told.every(({ folder, label, is_left_out }) => folder === label && !is_left_out);
  if (isPlain && Object.keys(groups).length === 0) return null;
  return new Blob([JSON.stringify({ classes: told, groups }, null, 1)], { type: "application/json" });
}

/**
 * What a zip says of itself, and its other files.
 * @param {Packed[]} packed
 * @returns {Promise<{manifest: Manifest, packed: Packed[]}>}
 */
export async function readManifest(packed) {
  const found = packed.find(({ path }) => path.split("/").pop() === MANIFEST);
  if (!found) return { manifest: { leftOut: [], about: (_, label) => ({ label }) }, packed };
  const base = found.path.slice(0, -MANIFEST.length);
  /** @type {{classes?: Told[], groups?: Record<string, string>}} */
  const { classes = [], groups = {} } = await parsed(found);
  const labels = new Map(classes.map(({ folder, label }) => [folder, label]));
  /** @type {Manifest["about"]} */
  const about = (path, label) => {
    const inside = path.startsWith(base) ? path.slice(base.length) : path;
    const named = labels.get(inside.slice(0, inside.lastIndexOf("/"))) ?? label;
    const group = Object.hasOwn(groups, inside) ? groups[inside] : undefined;
    return { label: named, ...(group && { group }) };
  };
  const leftOut = classes.filter((each) => each.is_left_out).map(({ label }) => label);
  return { manifest: { leftOut, about }, packed: packed.filter((each) => each !== found) };
}

/** @param {Packed} manifest */
async function parsed(manifest) {
  try {
    return JSON.parse(await (await manifest.read()).text());
  } catch {
    throw new Error(`its ${MANIFEST} cannot be read; leave it out of the zip`);
  }
}

/** @param {string} label hidden and unpacked otherwise, or lost */
function asFolder(label) {
  const plain = label.replaceAll(/[/\\]/g, "_").replace(/^\./, "_");
  return plain === "__MACOSX" || plain === "Thumbs.db" ? `_${plain}` : plain;
}
