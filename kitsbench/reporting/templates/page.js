// A report is read in its own folder, or through WORKDIR/report, from where trials lie elsewhere.
(() => {
  const own = "../../../trials/";
  if (/\/experiments\/[^/]+\/[^/]+\/[^/]*$/.test(location.pathname)) return;
  for (const link of document.querySelectorAll('a[href^="' + own + '"]'))
    link.setAttribute("href", "../" + link.getAttribute("href").slice("../../../".length));
})();
// The mark beside a head explains it; it does not sort.
for (const mark of document.querySelectorAll("a.word")) mark.addEventListener("click", (event) => event.stopPropagation());
// Text for a paper is copied in one go.
const copyAll = (text, button) => {
  const says = button.textContent;
  getSelection().selectAllChildren(text);
  button.textContent = document.execCommand("copy") ? "Copied" : "Selected: copy it by the keyboard";
  setTimeout(() => (button.textContent = says), 2500);
};
for (const text of document.querySelectorAll(".paste")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy the text";
  button.addEventListener("click", () => copyAll(text, button));
  text.before(button);
}
for (const button of document.querySelectorAll(".bar button")) button.hidden = false;
document.querySelector(".bar .print").addEventListener("click", () => window.print());
document.querySelector(".bar .copy-methods").addEventListener("click", (event) => copyAll(document.querySelector("#methods-text .paste"), event.target));
// What is folded is printed all the same, and folded again afterwards.
(() => {
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open]):not(.jump)")];
    opened.forEach((fold) => (fold.open = true));
  });
  window.addEventListener("afterprint", () => opened.forEach((fold) => (fold.open = false)));
})();
// Who is led into something folded finds it open; the list of sections closes behind who chose one.
(() => {
  const jump = document.querySelector(".jump");
  jump.addEventListener("click", (event) => event.target.closest("a") && (jump.open = false));
  document.addEventListener("click", (event) => jump.contains(event.target) || (jump.open = false));
  const reveal = () => {
    let name = "";
    try { name = decodeURIComponent(location.hash.slice(1)); } catch { return; }
    const place = name && document.getElementById(name);
    if (!place) return;
    let opened = false;
    for (let part = place; part; part = part.parentElement)
      if (part.tagName === "DETAILS" && !part.open) opened = part.open = true;
    if (opened) place.scrollIntoView();
  };
  window.addEventListener("hashchange", reveal);
  reveal();
})();
// Figures answer a pointer and the keyboard: each is one stop of the tabulator, arrows go on inside.
(() => {
  const told = document.createElement("div");
  told.className = "tip";
  told.hidden = true;
  told.setAttribute("aria-hidden", "true"); // the mark itself is named so
  document.querySelector("main").append(told);
  const text = (mark) => {
    const title = mark.querySelector(":scope > title");
    if (title) {
      mark.dataset.tip = title.textContent;
      title.remove(); // or the browser shows it once more
    } else if (mark.title) {
      mark.dataset.tip = mark.title;
      mark.removeAttribute("title");
    }
    return mark.dataset.tip;
  };
  const show = (mark) => {
    told.textContent = text(mark);
    told.hidden = false;
    const at = (mark.querySelector(".dot, .glyph") || mark).getBoundingClientRect();
    const own = told.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left + at.width / 2 - own.width / 2), innerWidth - own.width - 8);
    told.style.left = Math.max(8, left) + "px";
    told.style.top = (at.top > own.height + 12 ? at.top - own.height - 8 : at.bottom + 8) + "px";
  };
  const hide = () => (told.hidden = true);
  const marked = (event) => event.target.closest?.(".mark, a.word");
  const reachable = (mark) => {
    mark.setAttribute("tabindex", "0");
    if (mark.tagName === "TR") return;
    mark.setAttribute("aria-label", text(mark));
    if (mark.tagName === "g") mark.setAttribute("role", "img");
  };
  for (const figure of document.querySelectorAll(".drawing svg, .standing tbody")) {
    const first = figure.querySelector(".mark");
    if (!first) continue;
    if (figure.tagName === "svg") figure.setAttribute("role", "group"); // an image has no parts
    reachable(first);
  }
  // A case that the viewer holds is opened there, from its dot and from its row.
  const held = new Map([...document.querySelectorAll("#viewer tbody a")].map((link) => [link.textContent.trim(), new URL(link.href).hash]));
  const viewed = (mark) => [...held].find(([name]) => mark.closest("#cases") && text(mark).startsWith(name + ", "))?.[1];
  if (held.size) {
    for (const row of document.querySelectorAll("#cases tbody th[scope=row]")) {
      const hash = held.get(row.textContent.trim());
      if (!hash) continue;
      const link = document.createElement("a");
      link.href = hash;
      link.textContent = row.textContent.trim();
      row.replaceChildren(link);
    }
    document.querySelector("#cases").addEventListener("click", (event) => {
      const hash = event.target.closest(".mark") && viewed(event.target.closest(".mark"));
      if (!hash) return;
      event.preventDefault();
      location.hash = hash;
    });
  }
  document.addEventListener("pointerover", (event) => (marked(event) ? show(marked(event)) : hide()));
  document.addEventListener("focusin", (event) => (marked(event) ? show(marked(event)) : hide()));
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, true);
  const pick = (name) => {
    const same = [...document.querySelectorAll("[data-name]")].filter((row) => row.dataset.name === name);
    const off = same.every((row) => row.classList.contains("picked"));
    same.forEach((row) => row.classList.toggle("picked", !off));
  };
  document.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-name]");
    if (row && !event.target.closest("a, button, input, select") && !String(getSelection())) pick(row.dataset.name);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const mark = event.target.closest?.(".mark");
    if (!mark || event.target !== mark) return;
    if (event.key === "Enter" && mark.dataset.name) return pick(mark.dataset.name);
    if (event.key === "Enter" && mark.tagName === "g" && viewed(mark)) return void (location.hash = viewed(mark));
    const all = [...mark.closest("svg, tbody").querySelectorAll(".mark")];
    const at = all.indexOf(mark);
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || !all[to]) return;
    event.preventDefault();
    mark.setAttribute("tabindex", "-1");
    reachable(all[to]);
    all[to].focus();
  });
})();
// All pairs lie in the page; a reader chooses beside whom they are shown.
for (const forest of document.querySelectorAll(".forest")) {
  const choice = forest.querySelector(".choose");
  const bodies = [...forest.querySelectorAll("tbody")];
  choice.hidden = bodies.length < 2;
  choice.querySelector("select").addEventListener("change", (event) => {
    bodies.forEach((body, number) => (body.hidden = number !== Number(event.target.value)));
    forest.querySelector(".base").textContent = bodies[Number(event.target.value)].dataset.base;
  });
}
