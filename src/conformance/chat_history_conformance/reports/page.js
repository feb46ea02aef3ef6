"use strict";
// Filtering, copying, and opening what a link points at. The page reads the same without it.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const tools = document.getElementById("filter");
  const text = document.getElementById("filter-text");
  const outcome = document.getElementById("filter-outcome");

  // The text of each item, which is read once: reading it takes most of the time of a filter.
  let contents = null;
  const read = () => {
    contents ??= all("[data-status]").map((item) => [
      item, item.textContent.toLowerCase(), (item.dataset.status || "").split(" "),
    ]);
    return contents;
  };

  const filter = () => {
    const words = text.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = outcome.value;
    const active = words.length > 0 || wanted !== "";
    document.documentElement.classList.toggle("filtering", active);
    for (const [item, content, statuses] of read()) {
      item.hidden = active && !(
        words.every((word) => content.includes(word)) && (!wanted || statuses.includes(wanted))
      );
    }
    for (const family of all(".matrix tbody")) {
      family.hidden = active && all("tr[data-status]", family).every((row) => row.hidden);
    }
    for (const part of all("[data-part]")) {
      part.hidden = active && all("[data-status]", part).every((item) => item.hidden);
    }
  };

  if (tools) {
    tools.hidden = false;
    (window.requestIdleCallback ?? setTimeout)(read);
    let frame = 0;
    text.addEventListener("input", () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(filter);
    });
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

  // In the matrix, the arrow keys move to the next link in their direction.
  const matrix = document.querySelector(".matrix");
  matrix?.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    const rows = all("tr[data-status]", matrix).filter((row) => row.offsetParent);
    const row = event.target.closest("tr[data-status]");
    const link = row ? nextLink(rows, row, event.target.closest("td, th"), step) : rows[0]?.querySelector("a");
    if (link) {
      event.preventDefault();
      link.focus();
    }
  });

  const nextLink = (rows, row, cell, [down, right]) => {
    let y = rows.indexOf(row), x = cell.cellIndex;
    for (;;) {
      y += down;
      x += right;
      const next = rows[y]?.cells[x];
      if (!next) return null;
      const link = next.querySelector("a");
      if (link) return link;
    }
  };

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
