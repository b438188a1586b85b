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
for (const text of document.querySelectorAll(".paste")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy the text";
  button.addEventListener("click", () => {
    getSelection().selectAllChildren(text);
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected: copy it by the keyboard";
  });
  text.before(button);
}
// What is folded is printed all the same, and folded again afterwards.
(() => {
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((fold) => (fold.open = true));
  });
  window.addEventListener("afterprint", () => opened.forEach((fold) => (fold.open = false)));
})();
