// What the theme leaves unnamed or out of the keyboard's reach.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
const name = () => {
  document.querySelectorAll(".md-code__nav").forEach((nav, i) => nav.setAttribute("aria-label", `Code block ${i + 1}`));
  document.querySelectorAll("pre code, .md-typeset__scrollwrap").forEach((box) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  });
};
new MutationObserver(name).observe(document.querySelector("article"), { childList: true, subtree: true });
addEventListener("resize", name);
name();
