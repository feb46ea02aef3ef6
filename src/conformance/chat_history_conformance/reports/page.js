"use strict";
// Filtering, copying, and opening what a link points at. The page reads the same without it.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const tools = document.getElementById("filter");
  const text = document.getElementById("filter-text");
  const outcome = document.getElementById("filter-outcome");

  const filter = () => {
    const words = text.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = outcome.value;
    const active = words.length > 0 || wanted !== "";
    const fits = (item) => {
      const content = item.textContent.toLowerCase();
      const statuses = (item.dataset.status || "").split(" ");
      return words.every((word) => content.includes(word)) && (!wanted || statuses.includes(wanted));
    };
    document.documentElement.classList.toggle("filtering", active);
    for (const item of all("[data-status]")) item.hidden = active && !fits(item);
    for (const family of all(".matrix tbody")) {
      family.hidden = active && all("tr[data-status]", family).every((row) => row.hidden);
    }
    for (const part of all("[data-part]")) {
      part.hidden = active && all("[data-status]", part).every((item) => item.hidden);
    }
  };

  if (tools) {
    tools.hidden = false;
    text.addEventListener("input", filter);
    outcome.addEventListener("change", filter);
  }

  for (const sheet of all(".sheet")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      const source = sheet.querySelector("pre");
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        // Without the permission, the text is selected for the reader to copy.
        getSelection().selectAllChildren(source);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    sheet.append(button);
  }

  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) {
      target.hidden = false;
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
