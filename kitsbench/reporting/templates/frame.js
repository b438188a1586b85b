// The viewer opens inside the report where one asks for it, or where the address names a case.
(() => {
  const links = [...document.querySelectorAll("a[data-frame]")];
  let frame = null;
  const open = (link, words) => {
    if (!frame) {
      frame = document.createElement("iframe");
      frame.className = "viewer";
      frame.title = link.dataset.frame;
      frame.setAttribute("allow", "clipboard-write");
      link.closest("p").after(frame);
    }
    const address = link.getAttribute("href") + words;
    if (frame.getAttribute("src") !== address) frame.setAttribute("src", address);
  };
  for (const link of links) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Open it here";
    button.addEventListener("click", () => open(link, ""));
    link.textContent = "Open the viewer in a page of its own";
    link.after(" ", button);
    const asked = () => {
      if (!/^#case=/.test(location.hash)) return;
      open(link, location.hash);
      link.scrollIntoView();
    };
    window.addEventListener("hashchange", asked);
    asked();
  }
  // The viewer says which voxel is looked at, so that the report's own address leads there too.
  window.addEventListener("message", (event) => {
    const words = event.data && event.data.kitsbenchViewer;
    if (frame && event.source === frame.contentWindow && typeof words === "string" && words.startsWith("#case="))
      history.replaceState(null, "", words);
  });
})();
