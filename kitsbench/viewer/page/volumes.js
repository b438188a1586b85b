// From what a case's script or the server holds to arrays, and from arrays to NIfTI for NiiVue.

// Bytes of a volume: in the script itself (gzip, base64) or at an address of the server.
const bytesOf = async (volume) => {
  if ("url" in volume) {
    const answer = await fetch(volume.url);
    if (!answer.ok) throw new Error(await answer.text());
    return new Uint8Array(await answer.arrayBuffer());
  }
  return unpack(volume.data);
};

const unpack = async (text) => {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

const checked = (array, shape) => {
  const wanted = shape[0] * shape[1] * shape[2];
  if (array.length !== wanted) throw new Error(`a volume has ${array.length} voxels instead of ${wanted}`);
  return array;
};

// HU as Int16Array: stored as they are, or one byte each with a table of levels.
const readImage = async (known) => {
  const bytes = await bytesOf(known.image);
  if (!known.levels) return checked(new Int16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2), known.shape);
  const levels = Int16Array.from(known.levels);
  return checked(Int16Array.from(bytes, (byte) => levels[byte]), known.shape);
};

const readLabels = async (volume, shape) => checked(await bytesOf(volume), shape);

// A NIfTI file in memory, which is what NiiVue takes.
const nifti = (shape, affine, array) => {
  const wide = array instanceof Int16Array;
  const file = new ArrayBuffer(352 + array.byteLength);
  const head = new DataView(file);
  head.setInt32(0, 348, true);
  [3, ...shape, 1, 1, 1, 1].forEach((size, at) => head.setInt16(40 + 2 * at, size, true));
  head.setInt16(70, wide ? 4 : 2, true);
  head.setInt16(72, wide ? 16 : 8, true);
  const step = [0, 1, 2].map((axis) => Math.hypot(affine[0][axis], affine[1][axis], affine[2][axis]));
  [1, ...step, 0, 0, 0, 0].forEach((size, at) => head.setFloat32(76 + 4 * at, size, true));
  head.setFloat32(108, 352, true);
  head.setFloat32(112, 1, true);
  head.setUint8(123, 2); // mm
  head.setInt16(254, 1, true);
  affine.slice(0, 3).forEach((row, r) => row.forEach((value, c) => head.setFloat32(280 + 16 * r + 4 * c, value, true)));
  [0x6e, 0x2b, 0x31, 0].forEach((byte, at) => head.setUint8(344 + at, byte));
  new Uint8Array(file, 352).set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  return file;
};

const transform = (matrix, point) =>
  [0, 1, 2].map((row) => matrix[row][0] * point[0] + matrix[row][1] * point[1] + matrix[row][2] * point[2] + matrix[row][3]);

// Inverse of an affine matrix of four rows.
const inverse = (m) => {
  const minor = (a, b, c, d) => m[a][c] * m[b][d] - m[a][d] * m[b][c];
  const det = m[0][0] * minor(1, 2, 1, 2) - m[0][1] * minor(1, 2, 0, 2) + m[0][2] * minor(1, 2, 0, 1);
  const inner = [
    [minor(1, 2, 1, 2), -minor(0, 2, 1, 2), minor(0, 1, 1, 2)],
    [-minor(1, 2, 0, 2), minor(0, 2, 0, 2), -minor(0, 1, 0, 2)],
    [minor(1, 2, 0, 1), -minor(0, 2, 0, 1), minor(0, 1, 0, 1)],
  ].map((row) => row.map((value) => value / det));
  return inner.map((row) => [...row, -(row[0] * m[0][3] + row[1] * m[1][3] + row[2] * m[2][3])]);
};

// Voxels on the rim of a label, within the planes that are looked at: the outline of a truth.
const outline = (labels, [nx, ny, nz], axes) => {
  const out = new Uint8Array(labels.length);
  const steps = [1, nx, nx * ny], sizes = [nx, ny, nz];
  for (let at = 0, z = 0; z < nz; z++)
    for (let y = 0; y < ny; y++)
      for (let x = 0; x < nx; x++, at++) {
        const own = labels[at];
        if (!own) continue;
        const place = [x, y, z];
        for (const axis of axes)
          if (place[axis] === 0 || place[axis] === sizes[axis] - 1 || labels[at - steps[axis]] !== own || labels[at + steps[axis]] !== own) {
            out[at] = own;
            break;
          }
      }
  return out;
};

const ERRORS = [
  [1, "missed", "#FF6B5E"],
  [2, "found where nothing is", "#F2A0CE"],
  [3, "another label", "#F9E54E"],
];
// `ignored` is the value of voxels that nobody labelled, where nothing is right or wrong.
const errorsOf = (truth, found, ignored) =>
  Uint8Array.from(truth, (own, at) => (own === found[at] || own === ignored ? 0 : own === 0 ? 2 : found[at] === 0 ? 1 : 3));

const rgb = (code) => [1, 3, 5].map((at) => parseInt(code.slice(at, at + 2), 16));

// NiiVue's colours of a label map: [value, name, #rrggbb] for each label, the background unseen.
const colours = (labels, alpha) => {
  const all = [[0, "", "#000000"], ...labels];
  const [R, G, B] = [0, 1, 2].map((part) => all.map((label) => rgb(label[2])[part]));
  const strong = all.map((_, at) => (at ? Math.round(255 * alpha) : 0));
  return { R, G, B, A: strong, I: all.map((label) => label[0]), labels: all.map((label) => label[1]) };
};
