// What is drawn: one NiiVue for each pane, over the volumes of one case.

const PLANES = ["axial", "coronal", "sagittal", "all", "3d"];
// Along which axis of (x, y, z) the slices of a plane lie; all planes go by the axial one.
const AXIS = { axial: 2, coronal: 1, sagittal: 0, all: 2, "3d": 2 };
const WITHIN = { axial: [0, 1], coronal: [0, 2], sagittal: [1, 2], all: [0, 1, 2], "3d": [0, 1, 2] };

let library;
const niivue = async () => {
  if (!library) {
    const text = await viewerScript("niivue.js", "library");
    const address = URL.createObjectURL(new Blob([await unpack(text)], { type: "text/javascript" }));
    library = await import(address);
    URL.revokeObjectURL(address);
  }
  return library;
};

class Pane {
  constructor(figure, moved) {
    this.figure = figure;
    this.canvas = figure.querySelector("canvas");
    this.caption = figure.querySelector("figcaption");
    this.moved = moved;
    this.images = new Map();
  }

  async start() {
    if (this.nv) return;
    this.module = await niivue();
    this.nv = new this.module.Niivue({
      isRadiologicalConvention: true,
      backColor: [0, 0, 0, 1],
      crosshairColor: [1, 0.85, 0.3, 0.55],
      crosshairWidthUnit: "mm",
      crosshairWidth: 1.2,
      crosshairGap: 12,
      fontColor: [0.75, 0.75, 0.75, 1],
      dragAndDropEnabled: false,
      loadingText: "",
      logLevel: "error",
      multiplanarShowRender: 1,
      viewModeHotKey: "",
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
    });
    await this.nv.attachToCanvas(this.canvas, false);
    this.nv.setRenderAzimuthElevation(180, 10); // from the front
    // NiiVue counts the room beside a single slice twice (0.69), and its letters would stand inside
    // the body: here they stand in that room, or at the scan's edge where there is none.
    const letters = this.nv.drawSliceOrientationText.bind(this.nv);
    this.nv.drawSliceOrientationText = ([left, top, width, height], plane, room = []) => {
      const [x, y] = [0, 1].map((at) => Math.min(Math.max(room[at] || 0, 0), 1.3 * this.nv.fontPx));
      letters([left - x, top - y, width + 2 * x, height + 2 * y], plane);
    };
    this.nv.onLocationChange = () => this.moved(this);
  }

  // A new case: everything of the one before goes.
  async scan(known, image, window) {
    this.known = known;
    this.images.clear();
    while (this.nv.volumes.length) this.nv.removeVolumeByIndex(this.nv.volumes.length - 1);
    const volume = await this.module.NVImage.new(nifti(known.shape, known.affine, image), "scan.nii", "gray", 1, null, window[0], window[1]);
    this.nv.addVolume(volume);
    this.nv.scene.pan2Dxyzmm = [0, 0, 0, 1];
    this.seen = { window: window.join(), over: "", faint: false };
  }

  // Whole scans are large: nothing is sent to the graphics card twice.
  changes(key, value) {
    const other = this.seen[key] !== value;
    this.seen[key] = value;
    return other;
  }

  window([low, high]) {
    if (!this.changes("window", `${low},${high}`)) return;
    const scan = this.nv.volumes[0];
    [scan.cal_min, scan.cal_max] = [low, high];
    this.nv.updateGLVolume();
  }

  // What is laid over the scan: {key, array, labels or map, strength}.
  async lay(overlays) {
    if (!this.changes("over", JSON.stringify(overlays.map((over) => [over.key, over.strength])))) return;
    while (this.nv.volumes.length > 1) this.nv.removeVolumeByIndex(this.nv.volumes.length - 1);
    for (const over of overlays) {
      let image = this.images.get(over.key);
      if (!image) {
        const file = nifti(this.known.shape, this.known.affine, over.array);
        image = await this.module.NVImage.new(file, "over.nii", "inferno", 1, null, 1, 255);
        this.images.set(over.key, image);
      }
      if (over.labels) {
        image.setColormapLabel(colours(over.labels, 1));
        image.opacity = over.strength;
      } else image.opacity = over.strength * 0.7;
      this.nv.addVolume(image);
    }
  }

  plane(name) {
    const types = this.module.SLICE_TYPE;
    const own = { axial: types.AXIAL, coronal: types.CORONAL, sagittal: types.SAGITTAL, all: types.MULTIPLANAR, "3d": types.RENDER };
    // In 3D the body would hide what lies in it.
    if (this.changes("faint", name === "3d")) this.nv.setOpacity(0, name === "3d" ? 0.12 : 1);
    this.nv.setSliceType(own[name]);
  }

  at() {
    const place = this.nv.scene.crosshairPos;
    return this.known.shape.map((size, axis) => Math.min(size - 1, Math.max(0, Math.floor(place[axis] * size))));
  }

  go(voxel) {
    this.nv.scene.crosshairPos = this.known.shape.map((size, axis) => (voxel[axis] + 0.5) / size);
    this.nv.drawScene();
  }

  // Closer by a factor, about the crosshair; 0 is as at first.
  zoom(factor) {
    if (this.nv.opts.sliceType === this.module.SLICE_TYPE.RENDER) {
      this.nv.setScale(factor ? this.nv.scene.volScaleMultiplier * factor : 1);
      return;
    }
    const [x, y, z, now] = this.nv.scene.pan2Dxyzmm;
    const next = factor ? Math.min(12, Math.max(1, now * factor)) : 1;
    const mm = this.nv.frac2mm(this.nv.scene.crosshairPos);
    const moved = [x, y, z].map((value, axis) => (next === 1 ? 0 : value + (now - next) * mm[axis]));
    this.nv.setPan2Dxyzmm([...moved, next]);
  }

  drawn(other) {
    this.nv.scene.crosshairPos = [...other.nv.scene.crosshairPos];
    this.nv.scene.pan2Dxyzmm = [...other.nv.scene.pan2Dxyzmm];
    this.nv.drawScene();
  }
}
