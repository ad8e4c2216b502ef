// Keys and copying. Everything else is a link or a form, and works without this.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  /** Copies a text, also where the browser has no clipboard for pages. */
  const copy = async (text, button) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    button?.setAttribute("data-copied", "");
    button?.focus();
  };
  const copyBeside = (button) => copy(document.getElementById(button.dataset.copy)?.textContent ?? "", button);
  for (const button of document.querySelectorAll("button.copy[data-copy]")) {
    button.addEventListener("click", () => copyBeside(button));
  }

  const dialog = document.getElementById("keys");
  let before = null;
  dialog?.addEventListener("close", () => before?.focus());

  /** Moves to another row of the first table and to its first link. */
  const move = (by) => {
    const rows = [...document.querySelectorAll("main tbody tr")];
    if (!rows.length) return;
    const here = rows.findIndex((row) => row.classList.contains("here"));
    const next = Math.min(rows.length - 1, Math.max(0, here < 0 ? 0 : here + by));
    rows[here]?.classList.remove("here");
    rows[next].classList.add("here");
    const link = rows[next].querySelector("a, button");
    if (link) link.focus();
    else rows[next].scrollIntoView({ block: "nearest" });
  };

  const keys = {
    "?": () => {
      before = document.activeElement;
      dialog?.showModal();
    },
    "/": () => document.querySelector("form.filters :is(input:not([type=hidden]), select)")?.focus(),
    j: () => move(1),
    k: () => move(-1),
    c: () => {
      const button = document.querySelector("button.copy[data-copy]");
      if (button) copyBeside(button);
    },
  };
  const isTyping = (target) => target.closest("input, select, textarea, [contenteditable]");

  let going = false;
  document.addEventListener("keydown", (event) => {
    if (root.dataset.keys !== "on" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (dialog?.open || isTyping(event.target)) return;
    if (going) {
      going = false;
      const way = [...document.querySelectorAll("nav.ways a")].find((link) => link.dataset.key === event.key);
      if (way) {
        event.preventDefault();
        way.click();
      }
      return;
    }
    if (event.key === "g") {
      going = true;
      return;
    }
    const act = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
    if (act) {
      event.preventDefault();
      act();
    }
  });
})();
