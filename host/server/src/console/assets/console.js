// Keys, copying, and what happens while somebody looks. Everything else is a link or a form, and works without this.
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

  // The stream of this page (ADR 0060): opened with the token that stands in it, and only while somebody looks.
  const live = document.getElementById("live");
  const fresh = document.getElementById("fresh");
  const ROWS = 100;
  const QUIET_MAX = 30_000;
  let pauseOrGoOn = () => {};
  /** Whether the first of two keys was pressed. */
  let going = false;

  const watch = () => {
    const [mark, button] = [live.querySelector(".state"), live.querySelector("button")];
    let { page, at } = live.dataset;
    let [last, news, missed, wait] = ["", 0, 0, 1_000];
    let [paused, over, gap, open, timer] = [false, false, "", null, 0];
    const wanted = () => !paused && !over && !document.hidden;

    const say = (state, text) => {
      mark.className = `state ${state}`;
      const shape = document.createElement("span");
      shape.className = "shape";
      shape.setAttribute("aria-hidden", "true");
      mark.replaceChildren(shape, text);
    };
    const sayLive = () => {
      const more = missed ? ` · ${missed} ${live.dataset.missed}` : "";
      if (gap) say("cut", `${live.dataset.cut} ${gap}${more}`);
      else say("live-on", `${live.dataset.live} · ${at}${more}`);
    };
    const show = (text) => {
      fresh.textContent = text;
      fresh.hidden = false;
      document.getElementById("count").textContent = text;
    };
    const isReading = () => {
      const here = document.activeElement;
      return going || !window.getSelection().isCollapsed || (here && here !== document.body && here.id !== "main");
    };
    /** A run in the table of everything, above the others. */
    const add = (body, row) => {
      const line = document.createElement("tr");
      const link = document.createElement("a");
      [link.href, link.textContent] = [row.href, row.id];
      const head = document.createElement("th");
      head.scope = "row";
      head.append(link);
      line.append(head);
      row.cells.forEach((text, index) => {
        const cell = document.createElement("td");
        if (index === 3) cell.className = "number";
        if (index === 1) {
          const [state, shape] = [document.createElement("span"), document.createElement("span")];
          [state.className, shape.className] = [`state ${row.state}`, "shape"];
          shape.setAttribute("aria-hidden", "true");
          state.append(shape, text);
          cell.append(state);
        } else cell.textContent = text;
        line.append(cell);
      });
      body.prepend(line);
      while (body.rows.length > ROWS) body.lastElementChild.remove();
    };
    const take = (message) => {
      at = message.at;
      page = message.page ?? page;
      missed += message.missed ?? 0;
      if (message.cut) gap ||= last;
      for (const [id, text] of Object.entries(message.texts ?? {})) {
        const place = document.getElementById(id);
        if (place && place.textContent !== text) place.textContent = text;
      }
      const body = document.querySelector("#happens tbody");
      if (body) for (const row of message.rows ?? []) add(body, row);
      if (message.new) show(`${(news += message.new)} ${live.dataset.new}`);
      if (message.ended) {
        over = true;
        say("failed", live.dataset.ended);
      } else if (message.over) {
        over = true;
        if (isReading()) show(live.dataset.over);
        else location.reload();
      } else sayLive();
    };
    /** Nothing for a while is as good as cut off. */
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => open?.abort(), QUIET_MAX);
    };
    const listen = async () => {
      if (open || !wanted()) return;
      const mine = (open = new AbortController());
      const headers = { "x-larder-page": page };
      if (last) headers["last-event-id"] = last;
      alive();
      try {
        const answer = await fetch(live.dataset.from, { headers, signal: mine.signal, cache: "no-store", redirect: "error" });
        if ([401, 403, 404].includes(answer.status)) {
          over = true;
          say("failed", live.dataset.ended);
        }
        if (!answer.ok) throw new Error(String(answer.status));
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        let text = "";
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          alive();
          const parts = (text + value).split("\n\n");
          text = parts.pop();
          for (const part of parts) {
            const data = part.split("\n").filter((line) => line.startsWith("data:"));
            if (data.length) take(JSON.parse(data.map((line) => line.slice(5).trimStart()).join("\n")));
            last = at;
          }
          wait = 1_000;
        }
      } catch {
        // It was cut off, here or on the way.
      }
      clearTimeout(timer);
      open = null;
      if (over) return;
      if (!wanted()) return say("paused", `${live.dataset.paused} ${at}`);
      say("cut", `${live.dataset.cut} ${at}`);
      setTimeout(listen, wait);
      wait = Math.min(wait * 2, QUIET_MAX);
    };
    const turn = () => (wanted() ? listen() : open?.abort());
    pauseOrGoOn = () => {
      paused = !paused;
      button.setAttribute("aria-pressed", String(paused));
      turn();
    };
    button.addEventListener("click", pauseOrGoOn);
    document.addEventListener("visibilitychange", turn);
    window.addEventListener("pagehide", () => open?.abort());
    window.addEventListener("pageshow", turn);
    live.hidden = false;
    say("paused", `${live.dataset.paused} ${at}`);
    listen();
  };
  if (live) watch();

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
    ".": () => {
      if (fresh && !fresh.hidden) fresh.click();
    },
    r: () => pauseOrGoOn(),
    j: () => move(1),
    k: () => move(-1),
    x: () => document.querySelector("tr.here input[type=checkbox]")?.click(),
    c: () => {
      const button = document.querySelector("button.copy[data-copy]");
      if (button) copyBeside(button);
    },
  };
  const isTyping = (target) => target.closest("input, select, textarea, [contenteditable]");

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
