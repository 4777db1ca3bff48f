"use strict";
{
  const all = (selector) => [...document.querySelectorAll(selector)];
  const find = document.querySelector("#find");
  const status = document.querySelector("output");
  const clear = document.querySelector("#clear");
  const chips = all(".chips button");
  const computations = all("details").map((details) => ({
    details,
    rows: [...details.querySelectorAll("li")].map((li) => ({
      li, opcode: li.querySelector("b").textContent, text: null,
    })),
    wasOpen: details.open,
  }));
  const total = computations.reduce((sum, { rows }) => sum + rows.length, 0);
  const number = (n) => n.toLocaleString("en-US");

  for (const element of all(".search, .tools")) element.hidden = false;
  for (const chip of chips) {
    chip.disabled = false;
    chip.ariaPressed = "false";
    chip.addEventListener("click", () => {
      chip.ariaPressed = String(chip.ariaPressed !== "true");
      filter();
    });
  }

  // Shows the rows that have one of the pressed opcodes and all words that are looked for. While
  // something is left out, computations with such rows are open and others are away.
  let filtered = false;
  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const pressed = chips.filter((chip) => chip.ariaPressed === "true");
    const opcodes = new Set(pressed.map((chip) => chip.dataset.opcode));
    const filters = words.length > 0 || opcodes.size > 0;
    let shown = 0;
    for (const computation of computations) {
      const { details, rows } = computation;
      if (filters && !filtered) computation.wasOpen = details.open;
      let here = 0;
      for (const row of rows) {
        row.text ??= row.li.textContent.toLowerCase();
        const fits = (opcodes.size === 0 || opcodes.has(row.opcode))
          && words.every((word) => row.text.includes(word));
        row.li.hidden = !fits;
        here += fits;
      }
      details.hidden = filters && here === 0;
      if (filters) details.open = here > 0;
      else if (filtered) details.open = computation.wasOpen;
      shown += here;
    }
    filtered = filters;
    clear.hidden = !filters;
    status.textContent = filters
      ? `${number(shown)} of ${number(total)} instructions`
      : `${number(total)} instructions`;
  }
  function reset() {
    find.value = "";
    for (const chip of chips) chip.ariaPressed = "false";
    filter();
  }
  let waiting;
  find.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 80);
  });
  clear.addEventListener("click", reset);
  document.querySelector("#open").addEventListener("click", () => {
    for (const { details } of computations) details.open = true;
  });
  document.querySelector("#close").addEventListener("click", () => {
    for (const { details } of computations) details.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target !== find && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      find.focus();
      find.select();
    } else if (event.key === "Escape" && filtered) {
      reset();
    }
  });

  // The definition and all uses of what the pointer or the focus is on are marked.
  let links = null;
  let marked = [];
  function mark(event) {
    const link = event.target.closest?.("main a[href^='#c']");
    for (const element of marked) element.classList.remove("defined", "used");
    marked = [];
    if (!link) return;
    if (!links) {
      links = new Map();
      for (const a of all("main li a")) {
        const key = a.getAttribute("href");
        if (links.has(key)) links.get(key).push(a);
        else links.set(key, [a]);
      }
    }
    const href = link.getAttribute("href");
    const row = document.getElementById(href.slice(1));
    if (row?.tagName === "LI") {
      row.classList.add("defined");
      marked.push(row);
    }
    for (const a of links.get(href) ?? []) {
      if (a.classList.contains("name")) continue;
      a.classList.add("used");
      marked.push(a);
    }
  }
  document.addEventListener("pointerover", mark);
  document.addEventListener("focusin", mark);

  // What a link leads to is shown, even if it was closed or filtered away.
  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.hidden || target.closest("details")?.hidden) reset();
    const details = target.closest("details");
    if (details) details.open = true;
    target.scrollIntoView({ block: "nearest" });
  }
  addEventListener("hashchange", reveal);
  filter();
  reveal();
}
