// Makes the page's own tables sort, filter, hide columns and copy, by the library in the page.
// Whoever has no JavaScript, or an old browser, reads the same tables as they are written.
(async () => {
  const packed = (id) => document.getElementById(id).textContent.trim();
  const unpack = (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };
  if (!("DecompressionStream" in window)) return;
  const [script, style] = await Promise.all([unpack(packed("table-script")), unpack(packed("table-style"))]);
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const library = await import(address);
  URL.revokeObjectURL(address);
  const DataTable = library.default;
  const sheet = document.createElement("style");
  sheet.textContent = style;
  document.head.prepend(sheet); // before the page's own rules, which then hold
  library.set_or_remove_dark_class();

  // Numbers by their size; what has none comes last, whichever way a column is sorted.
  const size = (text) => (text === "" ? NaN : Number(text));
  const last = (a, b, sign) => (isNaN(a) ? (isNaN(b) ? 0 : 1) : isNaN(b) ? -1 : sign * (a - b));
  DataTable.type("size", {
    order: {
      asc: (a, b) => last(size(a), size(b), 1),
      desc: (a, b) => last(size(a), size(b), -1),
    },
  });

  // A cell in one line, without what only looks.
  const plain = (node) =>
    [...node.childNodes]
      .filter((part) => !part.classList?.contains("phone")) // it stands in a column of its own
      .map((part) => (part.nodeName === "SMALL" ? " " : "") + part.textContent)
      .join("")
      .replace(/\s+/g, " ")
      .trim();
  const head = (node) => plain(node.querySelector(".dt-column-title") || node);
  const asked = {
    columns: ":visible",
    stripHtml: false,
    format: { body: (data, row, column, node) => plain(node), header: (data, column, node) => head(node) },
  };
  const rules = JSON.parse(document.getElementById("text-rules").textContent);
  const [formula, number] = [new RegExp("^(?:" + rules.formula + ")"), new RegExp("^(?:" + rules.number + ")$")];
  const csv = (node) => {
    const text = plain(node).replaceAll("\u2212", "-");
    return (formula.test(text) && !number.test(text) ? "'" : "") + text;
  };
  const latex = (text) => (/^\s*[[*]/.test(text) ? "{}" : "") + [...text].map((letter) => rules.latex[letter] ?? letter).join("");
  const markdown = (text) => {
    let line = text.replace(/[\\`*~|${]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])/g, "\\$&").replace(/&/g, "&amp;").replace(/</g, "&lt;");
    if (/\][([:]|!\[|\[\^/.test(line)) line = line.replace(/[[\]!]/g, "\\$&");
    return line.replace(/:(?=\/\/)|(?<=\bwww)\./gi, "\\$&");
  };
  const rows = (dt) => {
    const found = dt.buttons.exportData(asked);
    return [found.header, ...found.body];
  };
  const right = (dt) =>
    dt.columns(":visible").header().toArray().map((node) => node.classList.contains("n"));
  const asMarkdown = (dt) => {
    const [first, ...body] = rows(dt).map((cells) => "| " + cells.map(markdown).join(" | ") + " |");
    const rule = "| " + right(dt).map((yes) => (yes ? "---:" : "---")).join(" | ") + " |";
    return [first, rule, ...body].join("\n") + "\n";
  };
  const asLatex = (dt) => {
    const [first, ...body] = rows(dt).map((cells) => "  " + cells.map(latex).join(" & ") + " \\\\");
    const columns = right(dt).map((yes) => (yes ? "r" : "l")).join("");
    const lines = ["\\toprule", first, "\\midrule", ...body, "\\bottomrule"];
    return ["\\begin{tabular}{" + columns + "}", ...lines, "\\end{tabular}"].join("\n") + "\n";
  };
  const copies = [
    {
      extend: "copyHtml5",
      text: "CSV",
      title: null,
      messageTop: null, // or the caption stands above the head
      messageBottom: null,
      fieldBoundary: '"',
      fieldSeparator: ",",
      escapeChar: '"',
      exportOptions: { ...asked, format: { ...asked.format, body: (data, row, column, node) => csv(node) } },
    },
    { extend: "copyHtml5", text: "Markdown", title: null, messageTop: null, messageBottom: null, customize: (text, config, dt) => asMarkdown(dt) },
    { extend: "copyHtml5", text: "LaTeX", title: null, messageTop: null, messageBottom: null, customize: (text, config, dt) => asLatex(dt) },
  ];

  const narrow = window.matchMedia("screen and (max-width: 46rem)");
  let printing = false; // what is unfolded for paper keeps its columns
  const live = (table) => {
    if (DataTable.isDataTable(table)) return;
    const heads = [...table.tHead.rows[0].cells];
    const sized = heads.flatMap((cell, column) => (cell.hasAttribute("data-sized") ? [column] : []));
    const box = table.closest(".scroll");
    const name = box.getAttribute("aria-label");
    box.classList.add("live");
    for (const part of ["role", "tabindex", "aria-label"]) box.removeAttribute(part);
    new DataTable(table, {
      paging: false,
      autoWidth: false,
      order: [],
      columnDefs: [
        { targets: sized, type: "size" },
        ...(narrow.matches && !printing ? [{ targets: ".later", visible: false }] : []),
      ],
      layout: {
        topStart: "search",
        topEnd: {
          buttons: [
            { extend: "colvis", text: "Columns" },
            { extend: "collection", text: "Copy", autoClose: true, buttons: copies },
          ],
        },
        bottomStart: table.tBodies[0].rows.length > 12 ? "info" : null,
        bottomEnd: null,
      },
      language: { search: "Filter", info: "_TOTAL_ rows", infoFiltered: " of _MAX_", infoEmpty: "No row", zeroRecords: "No row holds that." },
    });
    box.querySelector("input[type=search]").setAttribute("aria-label", "Filter " + name);
    // What scrolls now is the table's own box; it is a stop of the tabulator while it does.
    const scrolls = box.querySelector(".dt-layout-table");
    const hint = document.createElement("p");
    hint.className = "hint";
    scrolls.before(hint);
    const api = new DataTable.Api(table);
    // What is not seen is said where it is not seen.
    const tell = () => {
      const hidden = api.columns().count() - api.columns(":visible").count();
      const wide = scrolls.scrollWidth > scrolls.clientWidth + 1;
      const turn = narrow.matches ? " or on a wider screen" : "";
      const columns = hidden === 1 ? "1 column is" : hidden + " columns are";
      const told = hidden ? columns + " hidden: see them under “Columns”" + turn + "." : "";
      hint.textContent = [told, wide ? "Wider than the page: scroll the table sideways." : ""].join(" ").trim();
      hint.hidden = !hint.textContent;
    };
    api.on("column-visibility", tell);
    const stop = () => {
      tell();
      const wide = scrolls.scrollWidth > scrolls.clientWidth + 1;
      const words = { role: "group", tabindex: "0", "aria-label": name };
      for (const [part, value] of Object.entries(words))
        wide ? scrolls.setAttribute(part, value) : scrolls.removeAttribute(part);
    };
    new ResizeObserver(stop).observe(scrolls);
  };
  const tables = [...document.querySelectorAll(".scroll > table")];
  // Those that nobody has opened yet cost nothing.
  tables.filter((table) => !table.closest("details:not([open])")).forEach(live);
  document.querySelectorAll("details").forEach((fold) =>
    fold.addEventListener("toggle", () => fold.open && fold.querySelectorAll(".scroll table").forEach(live)),
  );
  // A window that is made wider or narrower gets the columns that it has room for.
  narrow.addEventListener("change", () => {
    if (printing) return;
    for (const table of tables.filter((one) => DataTable.isDataTable(one)))
      new DataTable.Api(table).columns(".later").visible(!narrow.matches);
  });
  // Paper has room for the columns that a phone has not.
  let brought = [];
  window.addEventListener("beforeprint", () => {
    printing = true;
    brought = tables.filter((table) => DataTable.isDataTable(table)).flatMap((table) => {
      const columns = new DataTable.Api(table).columns(".later");
      const hidden = columns.indexes().toArray().filter((at) => !new DataTable.Api(table).column(at).visible());
      columns.visible(true);
      return hidden.map((at) => [table, at]);
    });
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    brought.forEach(([table, at]) => new DataTable.Api(table).column(at).visible(false));
  });
  document.documentElement.dataset.tables = "live";
})();
