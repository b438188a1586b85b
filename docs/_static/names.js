// The theme leaves two kinds of its controls with names that a reader of screens cannot use.
document.addEventListener("DOMContentLoaded", () => {
  for (const toggle of document.querySelectorAll("summary > .toctree-toggle")) {
    toggle.parentElement.setAttribute("aria-label", "Pages of this section");
  }
  for (const button of document.querySelectorAll(".search-button, .search-button-field")) {
    button.removeAttribute("aria-label"); // its own words say what it is
    if (!button.textContent.trim()) button.setAttribute("aria-label", "Search");
  }
});
