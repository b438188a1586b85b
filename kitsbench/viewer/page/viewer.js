// The page: what is chosen, how it is reached by pointer, keyboard and address.

const state = { case: 0, a: "", b: "", plane: "axial", window: [-160, 240], truth: true, prediction: true, errors: false, map: "", strength: 0.5, side: false, blink: false, second: false };
let voxel = null; // (x, y, z) of the arrays under the crosshair
let lost = ""; // what is to be said beside the picture
let wished = null; // indices of the scan's file that an address asks for
let open = null; // {index, known, image, truth, found: Map, lines: Map, wrong: Map}
let turn = 0;

const waiting = new Map();
window.kitsbenchViewer = {
  library: (text) => waiting.get("library")?.(text),
  take: (name, content) => waiting.get(name)?.(content),
};
// A classic script beside the page, which calls one of the two above: also where a page was opened
// from a folder, and a browser refuses it everything else.
const viewerScript = (address, key) =>
  new Promise((good, bad) => {
    const script = make("script", undefined, { src: address });
    waiting.set(key, good);
    script.addEventListener("error", async () => {
      const served = location.protocol.startsWith("http") && (await fetch(address).catch(() => null));
      bad(new Error(served ? await served.text() : `${address} is missing beside this page`));
    });
    script.addEventListener("load", () => {
      script.remove();
      bad(new Error(`${address} is damaged`)); // unless it has called, which it does while it loads
    });
    document.head.append(script);
  });

const say = (text, wrong = false) => {
  byId("status").textContent = text;
  byId("status").classList.toggle("wrong", wrong);
};

const panes = ["pane-a", "pane-b"].map((id) => new Pane(byId(id), (pane) => moved(pane)));
const shownPanes = () => (state.side ? panes : panes.slice(0, 1));
const caseNow = () => known.cases[state.case];

// -- reading -----------------------------------------------------------------------------------

const openCase = async (index) => {
  if (open?.index === index) return open;
  const one = known.cases[index];
  say(`Loading ${one.name} ...`);
  const content = await viewerScript(one.script, one.script);
  const image = await readImage(content);
  const truth = content.truth && (await readLabels(content.truth, content.shape));
  const found = new Map(), volumes = new Map(content.predictions);
  // What lies in the script itself is cheap; what a server holds is read when it is chosen.
  for (const [name, volume] of volumes) if ("data" in volume) found.set(name, await readLabels(volume, content.shape));
  return { index, known: content, image, truth, found, volumes, lines: new Map(), wrong: new Map(), maps: new Map() };
};

const prediction = async (of, name) => {
  if (!of.found.has(name) && of.volumes.has(name)) of.found.set(name, await readLabels(of.volumes.get(name), of.known.shape));
  return of.found.get(name);
};

const kept = async (store, key, compute) => {
  if (!store.has(key)) store.set(key, await compute());
  return store.get(key);
};

const mapKey = ([maker, name]) => `${maker}\n${name}`;

const overlaysOf = async (of, maker) => {
  const list = [];
  const labels = maker ? await prediction(of, maker) : undefined;
  const wanted = state.map && of.known.maps.find((one) => mapKey(one) === state.map);
  if (wanted) {
    const array = await kept(of.maps, state.map, () => readLabels(wanted[2], of.known.shape));
    list.push({ key: `map ${state.map}`, array, strength: state.strength });
  }
  if (state.errors && labels && of.truth) {
    const array = await kept(of.wrong, maker, () => errorsOf(of.truth, labels, known.ignored));
    list.push({ key: `errors ${maker}`, array, labels: ERRORS, strength: Math.min(1, state.strength + 0.2) });
  } else if (state.prediction && labels) list.push({ key: `labels ${maker}`, array: labels, labels: known.labels, strength: state.strength });
  if (state.truth && of.truth) {
    const axes = WITHIN[state.plane];
    const array = await kept(of.lines, axes.join(), () => outline(of.truth, of.known.shape, axes));
    list.push({ key: `truth ${axes.join()}`, array, labels: known.labels, strength: state.plane === "3d" ? 0.35 : 1 });
  }
  return list;
};

// -- showing -----------------------------------------------------------------------------------

const makerOf = (number) => {
  if (number === 1) return state.b;
  if (!state.blink) return state.a;
  return state.second ? state.b : state.a;
};

const caption = (maker) => {
  const score = scoreOf(caseNow(), maker);
  const told = known.score && score !== undefined ? `: ${known.score} ${number(score)}` : "";
  return maker ? `${maker}${told}` : "no prediction";
};

let queue = Promise.resolve();
// One after another: what was asked for last is what is seen.
const show = (what = {}) => {
  Object.assign(state, what);
  const own = ++turn;
  document.documentElement.dataset.drawing = String(own);
  controls();
  queue = queue
    .then(() => (own === turn ? draw() : undefined))
    .catch((error) => {
      // No picture rather than that of another case or architecture than the one that is chosen.
      open = null;
      blank(true);
      say(`This cannot be shown: ${error?.message || error}`, true);
    })
    .then(() => own === turn && delete document.documentElement.dataset.drawing);
  return queue;
};

const blank = (yes) => {
  byId("panes").classList.toggle("blank", yes);
  if (yes) for (const id of ["where", "said", "here"]) byId(id).replaceChildren();
};

const draw = async () => {
  const fresh = await openCase(state.case);
  const changed = fresh !== open;
  open = fresh;
  for (const [number, pane] of shownPanes().entries()) {
    await pane.start();
    if (changed || pane.known !== open.known) await pane.scan(open.known, open.image, state.window);
    await pane.lay(await overlaysOf(open, makerOf(number)));
    pane.window(state.window);
    pane.plane(state.plane);
    pane.caption.textContent = caption(makerOf(number));
  }
  if (changed || wished) place();
  panes.forEach((pane) => pane.nv && pane.known === open.known && pane.go(voxel));
  blank(false);
  say(lost, lost !== "");
  lost = "";
  byId("said").textContent = open.known.said;
  maps();
  told();
};

// Where the crosshair begins: where an address says, or in the middle of the largest label's slice.
const place = () => {
  const { shape, affine, to_file } = open.known;
  if (wished) {
    const file = inverse(to_file), own = inverse(affine);
    voxel = transform(own, transform(file, wished)).map((value, axis) => Math.min(shape[axis] - 1, Math.max(0, Math.round(value))));
    wished = null;
    return;
  }
  voxel = shape.map((size) => Math.floor(size / 2));
  const labels = open.truth || [...open.found.values()][0];
  if (!labels) return;
  const [nx, ny] = shape, sum = [0, 0, 0];
  const wanted = known.labels.map((label) => label[0]);
  let count = 0;
  // A tumour before the kidney around it.
  const target = [2, ...wanted].find((value) => wanted.includes(value) && labels.includes(value));
  for (let at = 0; at < labels.length; at++)
    if (labels[at] === target) {
      count++;
      sum[0] += at % nx;
      sum[1] += Math.floor(at / nx) % ny;
      sum[2] += Math.floor(at / (nx * ny));
    }
  if (count) voxel = sum.map((value) => Math.round(value / count));
};

const moved = (pane) => {
  if (!open || pane.known !== open.known) return;
  voxel = pane.at();
  panes.forEach((other) => other !== pane && other.nv && other.known === open.known && state.side && other.drawn(pane));
  told();
};

const goTo = (next) => {
  if (!open) return;
  voxel = next.map((value, axis) => Math.min(open.known.shape[axis] - 1, Math.max(0, value)));
  shownPanes().forEach((pane) => pane.nv && pane.go(voxel));
  told();
};

const labelName = (value) => (value && value === known.ignored ? "labelled by nobody" : named(value));
const named = (value) => known.labels.find((label) => label[0] === value)?.[1] || (value ? `label ${value}` : "–");

const inFile = () => transform(open.known.to_file, transform(open.known.affine, voxel)).map(Math.round);

// What is said of the crosshair, the slice and the address.
const told = () => {
  const [nx, ny] = open.known.shape, at = voxel[0] + nx * (voxel[1] + ny * voxel[2]);
  const axis = AXIS[state.plane], slider = byId("slice");
  slider.max = String(open.known.shape[axis]);
  slider.value = String(voxel[axis] + 1);
  slider.disabled = state.plane === "3d";
  byId("slice-told").textContent = state.plane === "3d" ? "" : `${voxel[axis] + 1} of ${open.known.shape[axis]}`;
  const mm = transform(open.known.affine, voxel).map((value) => value.toFixed(1).replace("-", "−"));
  const truth = open.truth ? `; truth: ${labelName(open.truth[at])}` : "";
  byId("where").textContent = `${String(open.image[at]).replace("-", "−")} HU${truth}. Voxel [${inFile().join(", ")}] of the file, ${mm.join(", ")} mm (right, front, head).`;
  const read = (name) => (open.found.has(name) ? labelName(open.found.get(name)[at]) : open.volumes.has(name) ? "read when chosen" : "–");
  fillHere(byId("here"), caseNow(), read, [state.a, state.b], (name) => show({ a: name }));
  address();
};

const pressed = (button, on) => button.setAttribute("aria-pressed", String(on));

const controls = () => {
  const one = caseNow();
  if (!one.makers.includes(state.a)) state.a = known.makers.find((name) => one.makers.includes(name)) || "";
  if (!one.makers.includes(state.b)) state.b = "";
  fillCases(byId("case"), state.a, state.case);
  fillMakers(byId("a"), one, state.a);
  fillMakers(byId("b"), one, state.b, "nobody");
  byId("field-a").hidden = !one.makers.length;
  byId("field-b").hidden = one.makers.length < 2;
  document.querySelectorAll("[data-plane]").forEach((button) => pressed(button, button.dataset.plane === state.plane));
  document.querySelectorAll("[data-over]").forEach((button) => pressed(button, state[button.dataset.over]));
  document.querySelectorAll("[data-window]").forEach((button) => {
    const [, low, high] = known.windows.find(([key]) => key === button.dataset.window);
    pressed(button, low === state.window[0] && high === state.window[1]);
  });
  [byId("low").value, byId("high").value] = state.window.map(String);
  pressed(byId("blink"), state.blink);
  pressed(byId("side"), state.side);
  for (const id of ["blink", "side"]) byId(id).hidden = !one.makers.length;
  document.querySelectorAll('[data-over="prediction"], [data-over="errors"]').forEach((button) => (button.hidden = !one.makers.length));
  byId("opacity").value = String(Math.round(100 * state.strength));
  byId("pane-b").hidden = !state.side;
  byId("panes").classList.toggle("two", state.side);
  fillKey(byId("key"), state.errors);
  const order = cases();
  byId("before").disabled = byId("after").disabled = order.length < 2;
};

const maps = () => {
  const own = open.known.maps;
  byId("field-map").hidden = !own.length;
  const options = own.map((one) => make("option", `${one[0]}: ${one[1]}`, { value: mapKey(one) }));
  byId("map").replaceChildren(make("option", "nothing", { value: "" }), ...options);
  if (!own.some((one) => mapKey(one) === state.map)) state.map = "";
  byId("map").value = state.map;
  // Without a truth there is nothing to outline, and nobody is wrong.
  document.querySelectorAll('[data-over="truth"], [data-over="errors"]').forEach((button) => (button.disabled = !open.truth));
};

// -- address -----------------------------------------------------------------------------------

const link = () => {
  const words = new URLSearchParams({ case: caseNow().name });
  if (state.a) words.set("a", state.a);
  if (state.b) words.set("b", state.b);
  words.set("plane", state.plane);
  const named = known.windows.find(([, low, high]) => low === state.window[0] && high === state.window[1]);
  words.set("w", named ? named[0] : state.window.join(","));
  // Where a scan could not be shown there is none whose voxels could be named.
  if (open && voxel) ["x", "y", "z"].forEach((name, at) => words.set(name, String(inFile()[at])));
  return `#${words}`;
};

let later = 0;
const address = () => {
  clearTimeout(later);
  later = setTimeout(() => {
    if (location.hash === link()) return;
    history.replaceState(null, "", link());
    // The report, where this page stands inside it, has the same words in its own address.
    if (parent !== window) parent.postMessage({ kitsbenchViewer: link() }, "*");
  }, 200);
};

const follow = () => {
  const words = new URLSearchParams(location.hash.slice(1));
  const told = {};
  const index = known.cases.findIndex((one) => one.name === words.get("case"));
  if (index >= 0) told.case = index;
  else if (words.get("case")) lost = `${words.get("case")} is not among these cases; this is another.`;
  for (const name of ["a", "b"]) if (known.makers.includes(words.get(name))) told[name] = words.get(name);
  if (PLANES.includes(words.get("plane"))) told.plane = words.get("plane");
  const named = known.windows.find(([key]) => key === words.get("w"));
  const own = (words.get("w") || "").split(",").map(Number);
  if (named) told.window = named.slice(1);
  else if (own.length === 2 && own.every(Number.isFinite) && own[0] < own[1]) told.window = own;
  const at = ["x", "y", "z"].map((name) => (words.has(name) ? Number(words.get(name)) : NaN));
  if (at.every(Number.isFinite)) wished = at;
  return told;
};

// -- pointer and keyboard ----------------------------------------------------------------------

const cases = () => orderedCases(state.a).flatMap(([, own]) => own.map((one) => known.cases.indexOf(one)));
const next = (list, now, step) => list[(list.indexOf(now) + step + list.length) % list.length];
const step = (by) => voxel && goTo(voxel.map((value, axis) => (axis === AXIS[state.plane] ? value + by : value)));
const zoom = (factor) => shownPanes().forEach((pane) => pane.nv && pane.zoom(factor));

let beat = 0;
const blink = (on) => {
  clearInterval(beat);
  const before = state.prediction;
  if (on)
    beat = setInterval(() => show({ second: !state.second }), 700);
  return show({ blink: on, second: false, prediction: on || before });
};
const sideBySide = () => {
  const others = known.makers.filter((name) => caseNow().makers.includes(name) && name !== state.a);
  return show({ side: !state.side, b: state.b || (state.side ? "" : others[0] || "") });
};
const setWindow = (low, high) => low < high && show({ window: [low, high] });

byId("slice").addEventListener("input", (event) => voxel && goTo(voxel.map((value, axis) => (axis === AXIS[state.plane] ? Number(event.target.value) - 1 : value))));
byId("planes").addEventListener("click", (event) => event.target.dataset.plane && show({ plane: event.target.dataset.plane }));
byId("windows").addEventListener("click", (event) => {
  const key = event.target.closest("button")?.dataset.window;
  if (key) show({ window: known.windows.find(([name]) => name === key).slice(1) });
});
for (const id of ["low", "high"]) byId(id).addEventListener("change", () => setWindow(Number(byId("low").value), Number(byId("high").value)));
byId("over").addEventListener("click", (event) => event.target.dataset.over && show({ [event.target.dataset.over]: !state[event.target.dataset.over] }));
byId("blink").addEventListener("click", () => blink(!state.blink));
byId("side").addEventListener("click", sideBySide);
byId("closer").addEventListener("click", () => zoom(1.25));
byId("farther").addEventListener("click", () => zoom(0.8));
byId("case").addEventListener("change", (event) => show({ case: Number(event.target.value) }));
byId("before").addEventListener("click", () => show({ case: next(cases(), state.case, -1) }));
byId("after").addEventListener("click", () => show({ case: next(cases(), state.case, 1) }));
byId("a").addEventListener("change", (event) => show({ a: event.target.value }));
byId("b").addEventListener("change", (event) => show({ b: event.target.value }));
byId("map").addEventListener("change", (event) => show({ map: event.target.value }));
byId("opacity").addEventListener("input", (event) => show({ strength: Number(event.target.value) / 100 }));
byId("link").addEventListener("click", async () => {
  history.replaceState(null, "", link());
  try {
    await navigator.clipboard.writeText(location.href);
    byId("link-told").textContent = "copied";
  } catch {
    byId("link-told").textContent = "it stands in the address of this page";
  }
});
window.addEventListener("hashchange", () => show(follow()));

const KEYS = {
  ...Object.fromEntries(PLANES.map((name, at) => [String(at + 1), () => show({ plane: name })])),
  ArrowUp: (event) => step(event.shiftKey ? 10 : 1),
  ArrowDown: (event) => step(event.shiftKey ? -10 : -1),
  n: () => show({ case: next(cases(), state.case, 1) }),
  N: () => show({ case: next(cases(), state.case, -1) }),
  a: () => show({ a: next(known.makers.filter((name) => caseNow().makers.includes(name)), state.a, 1) || "" }),
  A: () => show({ a: next(known.makers.filter((name) => caseNow().makers.includes(name)), state.a, -1) || "" }),
  w: () => {
    const at = known.windows.findIndex(([, low, high]) => low === state.window[0] && high === state.window[1]);
    show({ window: known.windows[(at + 1) % known.windows.length].slice(1) });
  },
  p: () => show({ prediction: !state.prediction }),
  t: () => show({ truth: !state.truth }),
  e: () => show({ errors: !state.errors }),
  b: () => blink(!state.blink),
  s: sideBySide,
  "+": () => zoom(1.25),
  "-": () => zoom(0.8),
  "−": () => zoom(0.8),
  0: () => zoom(0),
  "?": () => (byId("help").open = !byId("help").open),
};
// Before NiiVue's own keys, of which some have another meaning here.
document.addEventListener(
  "keydown",
  (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    if (event.target.tagName === "CANVAS" && event.key !== "Tab") event.stopPropagation();
    const act = known.cases.length && Object.hasOwn(KEYS, event.key) && KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act(event);
  },
  true,
);
document.addEventListener("keyup", (event) => event.target.tagName === "CANVAS" && event.stopPropagation(), true);

// -- beginning ---------------------------------------------------------------------------------

const begin = () => {
  if (!known.cases.length) return say("There is no case to be shown.", true);
  if (!("DecompressionStream" in window)) return say("This browser is too old for the viewer: it needs one of 2023 or later.", true);
  if (!document.createElement("canvas").getContext("webgl2")) return say("This browser draws no WebGL2, which the viewer needs.", true);
  state.a = known.makers.includes(known.first) ? known.first : known.makers[0] || "";
  state.case = cases()[0];
  show(follow()).then(() => (document.documentElement.dataset.viewer = open ? "ready" : "failed"));
};
begin();
