// The theme puts the button that copies a block of code into an element that counts as a
// landmark of the page, and there are as many as blocks.
new MutationObserver(() => {
  for (const nav of document.querySelectorAll("nav.md-code__nav:not([role])")) {
    nav.setAttribute("role", "presentation");
  }
}).observe(document.body, { childList: true, subtree: true });
