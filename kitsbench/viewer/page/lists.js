// Lists of cases and architectures; every name is put in as text, never as markup.

const byId = (id) => document.getElementById(id);
const known = JSON.parse(byId("viewer-data").textContent);

const make = (tag, text, attributes = {}) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};

// Own ones only: an architecture may be called as something that every object has.
const scoreOf = (one, maker) => (Object.hasOwn(one.scores, maker) ? one.scores[maker] : undefined);

const number = (value) => (value === undefined || value === null ? "–" : value.toFixed(3).replace("-", "−"));

// The worst for an architecture come first, then its best, then where architectures differ most.
const orderedCases = (maker) => {
  const worse = known.high ? 1 : -1;
  const scored = known.cases.filter((one) => scoreOf(one, maker) !== undefined);
  scored.sort((one, other) => worse * (scoreOf(one, maker) - scoreOf(other, maker)));
  const spread = (one) => {
    const all = Object.values(one.scores);
    return all.length > 1 ? Math.max(...all) - Math.min(...all) : 0;
  };
  const apart = known.cases.filter((one) => spread(one) > 0).sort((one, other) => spread(other) - spread(one));
  const part = Math.max(1, Math.min(5, Math.ceil(scored.length / 3)));
  const groups = [
    ["Worst first", scored.slice(0, part)],
    ["Best", scored.slice(-part).reverse()],
    ["Architectures differ most", apart.slice(0, part)],
    ["Chosen before any result", known.cases.filter((one) => one.showcase)],
    ["All others", [...known.cases].sort((one, other) => (one.name < other.name ? -1 : 1))],
  ];
  const listed = new Set();
  return groups
    .map(([name, cases]) => [name, cases.filter((one) => !listed.has(one) && listed.add(one))])
    .filter(([, cases]) => cases.length);
};

const fillCases = (select, maker, chosen) => {
  const groups = orderedCases(maker);
  const option = (one) => {
    const value = scoreOf(one, maker);
    const score = value === undefined ? "" : ` · ${number(value)}`;
    return make("option", one.name + score, { value: String(known.cases.indexOf(one)) });
  };
  select.replaceChildren(
    ...(groups.length === 1
      ? groups[0][1].map(option)
      : groups.map(([name, cases]) => {
          const group = make("optgroup", undefined, { label: name });
          group.append(...cases.map(option));
          return group;
        })),
  );
  select.value = String(chosen);
};

const fillMakers = (select, one, chosen, none) => {
  const own = known.makers.filter((name) => one.makers.includes(name));
  const options = own.map((name) => make("option", name, { value: name }));
  if (none) options.unshift(make("option", none, { value: "" }));
  select.replaceChildren(...options);
  select.value = chosen;
};

// What each architecture says of the voxel under the crosshair; a click chooses one.
const fillHere = (place, one, read, chosen, choose) => {
  const own = known.makers.filter((name) => one.makers.includes(name));
  if (!own.length) return place.replaceChildren();
  const table = make("table");
  const head = make("tr");
  head.append(make("th", "Architecture", { scope: "col" }));
  if (known.score) head.append(make("th", known.score, { scope: "col" }));
  head.append(make("th", "Here", { scope: "col" }));
  const top = make("thead");
  top.append(head);
  const body = make("tbody");
  for (const name of own) {
    const row = make("tr"), cell = make("th", undefined, { scope: "row" });
    const button = make("button", name, { type: "button", "aria-pressed": String(chosen.includes(name)) });
    button.addEventListener("click", () => choose(name));
    cell.append(button);
    row.append(cell);
    if (known.score) row.append(make("td", number(scoreOf(one, name)), { class: "n" }));
    row.append(make("td", read(name)));
    body.append(row);
  }
  table.append(make("caption", "At the crosshair"), top, body);
  const scrolled = place.scrollTop;
  place.replaceChildren(table);
  place.scrollTop = scrolled;
};

const fillKey = (list, errors) => {
  const shown = errors ? ERRORS : known.labels;
  list.replaceChildren(
    ...shown.map(([, name, code]) => {
      const item = make("li"), chip = make("span", undefined, { class: "chip" });
      chip.style.background = code;
      item.append(chip, name);
      return item;
    }),
  );
};
