"use strict";
// Works the page of a module as a reader would; `tests/hlo_page.rs` checks what it saw.
{
  const one = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const rows = () => all("main li").filter((li) => li.checkVisibility());
  const opcode = (li) => li.querySelector("b").textContent;
  const opcodes = () => [...new Set(rows().map(opcode))];
  const pause = () => new Promise((resume) => setTimeout(resume, 200));
  const press = (key) =>
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const seen = {};

  // A loop as the page lists it: the first line of its entry, behind the loop around it.
  function loop(li) {
    const around = li.parentElement.closest("li");
    const own = [...li.childNodes].filter((node) => !["DIV", "UL"].includes(node.tagName));
    const line = own.map((node) => node.textContent).join("").trim();
    return around ? `${around.querySelector("a").textContent} > ${line}` : line;
  }

  async function read() {
    seen.requests = performance.getEntriesByType("resource").length;
    seen.images = all("img").length;
    seen.text = one("main").textContent;
    seen.computations = all("details").length;
    seen.rows = rows().length;
    seen.loops = all("#loops li").map(loop);
    seen.colours = {};
    for (const li of rows()) {
      seen.colours[opcode(li)] = getComputedStyle(li).borderLeftColor;
    }

    // A click on the heading of a computation closes it.
    const details = one("details");
    const before = details.querySelector("li").checkVisibility();
    details.querySelector("summary").click();
    await pause();
    seen.closed = [before, details.querySelector("li").checkVisibility()];
    one("#close").click();
    await pause();
    seen.all_closed = rows().length;

    // A link into what is closed opens it.
    location.hash = one("details:last-of-type li").id;
    await pause();
    seen.revealed = one("details:last-of-type li").checkVisibility();
    one("#open").click();
    await pause();

    // The filter by opcode, and the search.
    one("[data-opcode=dot]").click();
    await pause();
    seen.filtered = opcodes();
    seen.status = one("output").textContent;
    press("Escape");
    press("/");
    document.activeElement.value = "tuple f32[5,7,3]";
    document.activeElement.dispatchEvent(new Event("input", { bubbles: true }));
    await pause();
    seen.found = opcodes().filter((name) => name === "tuple");
    press("Escape");
    await pause();
    seen.after_escape = rows().length;

    // The pointer on an operand marks its definition and all uses.
    const dot = rows().find((li) => opcode(li) === "dot");
    const operand = dot.querySelectorAll("span b ~ a")[1];
    operand.dispatchEvent(new Event("pointerover", { bubbles: true }));
    seen.hovered = operand.textContent;
    seen.defined = one("li.defined a.name").textContent;
    seen.uses = all("a.used").length;
  }

  read()
    .catch((error) => (seen.error = String(error.stack)))
    .then(() => {
      const pre = document.createElement("pre");
      pre.id = "seen";
      pre.textContent = JSON.stringify(seen);
      document.body.append(pre);
    });
}
